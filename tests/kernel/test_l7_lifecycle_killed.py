"""The agent of a mesh with policies is killed: everything goes on, for open and for new connections, and is taken over."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from l7_site import NO_ADMIN, NO_SHOP, L7Site

from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.model import Config, Service
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source
from ebpfmesh.testing import PrivateCgroup, compile_bpf
from ebpfmesh.tiers.l7 import loading

pytestmark = pytest.mark.kernel("sockhash")
SITE = L7Site


def statuses(site: L7Site, connection: socket.socket) -> tuple[int, int]:
    """What /admin and /shop answer."""
    return site.get(connection, "/admin").status, site.get(connection, "/shop").status


def test_policies_hold_without_an_agent_and_the_next_takes_over(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert statuses(site, connection) == (403, 200)
    agent.kill()
    assert statuses(site, connection) == (403, 200)
    second = site.connect()
    assert statuses(site, second) == (403, 200)
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    assert mesh.l7 is not None
    assert statuses(site, connection) == statuses(site, second) == (403, 200)
    found = mesh.status().l7
    assert found is not None
    assert (found.services[0].requests, found.services[0].denied, found.enrolled) == (10, 5, 2), "counted on"
    mesh.put(site.http(rules=(NO_SHOP,)))
    assert statuses(site, connection) == statuses(site, second) == (200, 403)
    assert statuses(site, site.connect()) == (200, 403)


def test_a_start_with_another_policy_changes_it_on_connections_that_a_dead_agent_left(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)), site.http("other", "10.96.0.11:80"))
    connection, other = site.connect(), site.connect(("10.96.0.11", 80))
    assert statuses(site, connection) == (403, 200)
    agent.kill()
    site.start(site.http(rules=(NO_SHOP,)))
    assert statuses(site, connection) == (200, 403)
    assert statuses(site, other) == (200, 200), "its service is gone: it passes"


def test_a_start_without_policies_lets_the_connections_of_a_dead_agent_pass(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert statuses(site, connection) == (403, 200)
    agent.kill()
    site.start(site.http(l7=None))
    assert statuses(site, connection) == (200, 200)
    assert statuses(site, site.connect()) == (200, 200)


def test_programs_that_are_attached_anew_come_in_their_order(site: L7Site, cgroup: PrivateCgroup) -> None:
    rules = (Rule("no-guests", action="deny", sources=(Source(workload="guest"),)),)
    inner = cgroup.child("guest")
    service, guest = site.http(l7=None, rules=rules), (Workload("guest", str(inner.path)),)
    agent = site.agent(service, workloads=guest)
    agent.kill()
    for name in ("connect4", "connect6"):
        next(site.bpffs.rglob(name)).unlink()
    site.start(service, workloads=guest)
    with pytest.raises(PermissionError):
        site.connect(cgroup=inner)
    assert site.get(site.connect()).status == 200


def test_a_limit_goes_on_counting_over_a_restart(site: L7Site) -> None:
    service = site.http(limits=(Limit("few", rate="3/h"),))
    agent = site.agent(service)
    connection = site.connect()
    assert [site.get(connection).status for _ in range(2)] == [200, 200]
    agent.kill()
    site.start(service)
    assert [site.get(connection).status for _ in range(3)] == [200, 429, 429]


class Seen(NamedTuple):
    """What the traffic saw: pairs of statuses, and errors."""

    pairs: list[tuple[int, int]]
    errors: list[BaseException]


class Traffic:
    """Requests on one open connection without a pause: /admin, then /shop."""

    def __init__(self, site: L7Site) -> None:
        self.seen = Seen([], [])
        self._site, self._connection = site, site.connect()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.seen.pairs.append(statuses(self._site, self._connection))
            except (OSError, EOFError) as error:
                self.seen.errors.append(error)
                return

    def more(self, count: int = 30) -> None:
        """Wait until it has seen so many more."""
        wanted, deadline = len(self.seen.pairs) + count, time.monotonic() + 10
        while len(self.seen.pairs) < wanted and not self.seen.errors:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> Seen:
        self._stop.set()
        self._thread.join(10)
        return self.seen


def test_killed_in_the_middle_of_requests_again_and_again(site: L7Site) -> None:
    first = site.agent(site.http(rules=(NO_ADMIN,)))
    traffic = Traffic(site)
    for _ in range(3):
        traffic.more()
        first.kill()
        traffic.more()
        first = site.agent(site.http(rules=(NO_ADMIN,)))
    traffic.more()
    seen = traffic.end()
    assert not seen.errors
    assert set(seen.pairs) == {(403, 200)}
    site.run("cleanup", "l7", "--stop")


def configs(site: L7Site) -> tuple[Config, Config]:
    """Both of two services have one policy, or both the other."""

    def both(rule: Rule) -> tuple[Service, ...]:
        return site.http(rules=(rule,)), site.http("other", "10.96.0.11:80", rules=(rule,))

    return site.config(*both(NO_ADMIN)), site.config(*both(NO_SHOP))


def test_an_agent_killed_at_any_write_of_an_apply_leaves_the_old_or_the_new(site: L7Site) -> None:
    old, new = configs(site)
    agent = site.agent(*old.services, write=0)
    one, other = site.connect(), site.connect(("10.96.0.11", 80))
    count = int(agent.tell(f"apply {site.write(new)}").split()[1])
    assert count >= 9
    assert agent.tell(f"apply {site.write(old)}")
    assert agent.tell("keep") == "closed"
    outcomes = set()
    for write in range(1, count + 1, max(1, count // 6)):
        agent = site.agent(*old.services, write=write)
        assert statuses(site, one) == statuses(site, other) == (403, 200)
        with pytest.raises(AssertionError, match="ended with -9"):
            agent.tell(f"apply {site.write(new)}")
        seen = statuses(site, one)
        assert seen in ((403, 200), (200, 403))
        assert statuses(site, other) == seen, "both services, or none"
        outcomes.add(seen)
    mesh = site.start(*new.services)
    assert statuses(site, one) == statuses(site, other) == (200, 403)
    mesh.collect()
    assert (403, 200) in outcomes


def another_http1(drops: str) -> bytes:
    """The HTTP/1 programs, of which ``http1_sent`` drops whatever is sent."""
    source = (loading.object_path("l7").parent / "l7_http1.bpf.c").read_text()
    marker = "int http1_sent(struct sk_msg_md *msg)\n{\n"
    assert marker in source
    return compile_bpf(source.replace(marker, f"{marker}\tif (msg->size) return {drops};\n"))


def test_an_upgrade_swaps_what_open_connections_run(
    site: L7Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert statuses(site, connection) == (403, 200)
    agent.kill()
    (tmp_path / "l7_http1.bpf.o").write_bytes(another_http1("SK_DROP"))
    path_of = loading.object_path
    monkeypatch.setattr(
        loading,
        "object_path",
        lambda name: tmp_path / "l7_http1.bpf.o" if name == "l7_http1" else path_of(name),
    )
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    with pytest.raises(PermissionError):
        site.get(connection, "/shop")
    mesh.close(keep=True)
    monkeypatch.undo()
    site.start(site.http(rules=(NO_ADMIN,)))
    # SK_DROP is for good on that socket, as the kernel has it; others run the programs that are there again
    assert statuses(site, site.connect()) == (403, 200)


def test_a_start_that_fails_leaves_what_the_dead_agent_left(
    site: L7Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert statuses(site, connection) == (403, 200)
    agent.kill()
    (tmp_path / "l7_http1.bpf.o").write_bytes(another_http1("SK_DROP"))
    path_of = loading.object_path

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patched:
        patched.setattr(
            loading,
            "object_path",
            lambda name: tmp_path / "l7_http1.bpf.o" if name == "l7_http1" else path_of(name),
        )
        patched.setattr("ebpfmesh.tiers.connect.tier.ConnectTier.settle", failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            site.start(site.http(rules=(NO_ADMIN,)))
    assert statuses(site, connection) == (403, 200)
    assert statuses(site, site.connect()) == (403, 200)
