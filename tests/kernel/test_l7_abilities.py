"""What the behaviour probes found unsafe is left out, by both protocols: a refusal is EACCES, and nothing is taken out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from l7_http2_site import DENY, Http2Site

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Rule
from ebpfmesh.tiers.l7 import abilities, behaviour
from ebpfmesh.tiers.l7.behaviour import catalogue, trial
from ebpfmesh.tiers.l7.wire import SettingFlag

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site


@pytest.fixture(params=[SettingFlag.NO_REPLIES, SettingFlag.NO_SWALLOWING, SettingFlag(3)])
def flags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SettingFlag:
    """As if the probes had failed: what a mesh that starts now sets of ``struct l7_settings``."""
    monkeypatch.setattr(abilities, "refused", lambda _found: int(request.param))
    found: SettingFlag = request.param
    return found


def counters(site: Http2Site) -> Mapping[str, int]:
    with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as seen:
        return seen.metrics().services[0].counters


def test_a_refused_stream_shuts_a_connection_of_http2(site, flags):
    found = site.start(site.http2(rules=DENY)).status().l7
    wanted = {"local_reply": SettingFlag.NO_REPLIES, "swallow": SettingFlag.NO_SWALLOWING}
    assert found.left_out == [ability for ability, flag in wanted.items() if flags & flag]
    client = site.client()
    assert client.get("/yes/1").status == 200
    before = client.request("/yes/2")
    client.flush()
    client.request("/no/1")
    with pytest.raises(PermissionError):
        client.flush()
    assert client.wait(before)[0].status == 200  # what was let through is answered
    for _ in range(3):
        with pytest.raises(PermissionError):  # for good
            client.socket.sendall(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))
    assert site.h2.paths == ["/yes/1", "/yes/2"]
    assert not site.h2.errors
    counted = counters(site)
    assert (counted["denied"], counted["streams_refused"], counted["replied"]) == (1, 1, 0)
    assert (counted["reply_failed"], counted["swallowed"]) == (1, 0)
    assert site.client().get("/yes/3").status == 200  # another connection is not touched


def test_frames_that_messages_cut_are_held_only_where_that_is_safe(site, flags):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes/1").status == 200
    client.piece = 10
    stream = client.request("/yes/2")
    if flags & SettingFlag.NO_SWALLOWING:
        with pytest.raises(PermissionError):
            client.flush()
        assert (counters(site)["reply_failed"], counters(site)["swallowed"]) == (1, 0)
    else:
        client.flush()
        assert client.wait(stream)[0].status == 200
    assert not site.h2.errors


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("settings", [{}, {3: 100}])
def test_settings_that_cannot_be_amended_are_left_as_they_are(cgroup, netns, bpffs, tmp_path, settings):
    """Ours would follow the server's, as a reply does: the client goes on with its dynamic table."""
    with Http2Site(cgroup, netns, bpffs, tmp_path, settings) as site:
        site.start(site.http2(rules=DENY))
        client = site.client()
        for number in range(20):
            got = client.get(f"/yes/{number}", headers=[("x-same", "value"), ("x-other", f"{number}")])
            assert got.status == 200
        assert all(1 not in announced for announced in client.settings)
        assert [one.headers["x-other"] for one in site.h2.asked] == [str(number) for number in range(20)]
        assert not site.h2.errors


def test_what_cannot_be_followed_is_shut_without_goaway(site, flags):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes").status == 200
    wrong = b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\xff"  # a block that ends inside an integer
    for _ in range(2):
        with pytest.raises(PermissionError):
            client.socket.sendall(wrong)
    counted = counters(site)
    assert (counted["goaway"], counted["undecodable_refused"]) == (0, 1)
    assert site.h2.paths == ["/yes"]
    assert not site.h2.errors


def test_a_refused_request_of_http1_is_eacces(site, flags):
    site.start(site.http(rules=DENY))
    connection = site.connect()
    assert site.get(connection, "/yes").status == 200
    if not flags & SettingFlag.NO_REPLIES:
        assert site.get(connection, "/no/1").status == 403
    else:
        with pytest.raises(PermissionError):
            site.get(connection, "/no/1")
        assert counters(site)["reply_failed"] == 1
    assert b"/no/1" not in b"".join(site.server.received)


def test_what_is_left_out_for_want_of_an_answer_comes_back_with_a_later_change(site, monkeypatch):
    """The machine is too slow for the probes at the start, and not any more when the configuration changes."""
    every = behaviour.measure()
    lacking = tuple(
        trial.not_made(one, "unknown", "the probes' process did not begin in time")
        for one in catalogue.every()
    )
    slow = msgspec.structs.replace(every, outcomes=lacking)
    answers = [every, slow, slow]  # a start asks twice before it goes on without
    monkeypatch.setattr("ebpfmesh.tiers.l7.behaviour.measure", answers.pop)
    why = "probe local_reply has no answer: the probes' process did not begin in time"

    mesh = site.start(site.http(rules=DENY))
    connection = site.connect()
    with pytest.raises(PermissionError):
        site.get(connection, "/no/1")
    assert mesh.status().l7.reasons["local_reply"] == why
    assert f"local_reply is left out here, refusals are EACCES at send(): {why}" in mesh.notices
    shown = site.run("status", "l7").stdout
    assert "left out here: local_reply, swallow; refusals are EACCES at send()\n" in shown
    assert f"local_reply is left out: {why}\n" in shown

    mesh.apply(site.config(site.http(rules=(*DENY, Rule("nor", action="deny", paths=("/nor",))))))
    assert site.get(site.connect(), "/no/1").status == 403
    assert (mesh.status().l7.left_out, mesh.status().l7.reasons) == ([], {})
    assert "local_reply is used from now on" in mesh.notices
    assert "left out" not in site.run("status", "l7").stdout
