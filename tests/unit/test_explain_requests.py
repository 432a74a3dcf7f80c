"""explain: what becomes of a described request, and why, by the configuration alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from ebpfmesh.cli.main import main
from ebpfmesh.errors import ConfigError
from ebpfmesh.observe.explain import Choice, Explanation, explain, explain_recorded
from ebpfmesh.policy import Http, toml
from ebpfmesh.policy.check import check

TEXT = """
name = "shop"
cgroup = "/mesh"

[[workloads]]
name = "checkout"
cgroup = "/mesh/checkout"
spiffe = "spiffe://example.org/ns/shop/sa/checkout"

[[workloads]]
name = "admin"
cgroup = "/mesh/admin"
labels = { team = "ops" }

[[replies]]
name = "gone"
status = 410
body = "not here"

[[services]]
name = "orders"
addresses = ["10.96.0.10:80"]
backends = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 3 }, { address = "10.0.0.3:8080", draining = true }]
balance = "weighted-random"
l7 = "http1"

[[services.rules]]
name = "no-admin"
action = "deny"
paths = ["/admin/**"]
reply = "gone"

[[services.rules]]
name = "ours"
action = "allow"
from = [{ workload = "checkout" }, { labels = { team = "ops" } }]

[[services.rules]]
name = "lan"
action = "allow"
from = [{ address = "192.168.0.0/16" }]
hosts = ["*.shop.example"]

[[services.rules]]
name = "watched"
action = "audit"
headers = [{ name = "x-debug", present = true }]

[[services.limits]]
name = "all"
rate = "100/s"

[[services.limits]]
name = "writes"
rate = "5/m"
methods = ["POST"]

[[services.faults]]
name = "chaos"
percentage = 1.0
paths = ["/orders/**"]

[[services.routes]]
name = "order"
paths = ["/orders/*"]

[[services]]
name = "db"
addresses = ["10.96.0.11:5432"]
backends = ["10.0.0.9:5432"]

[[services.rules]]
name = "only-checkout"
action = "allow"
from = [{ workload = "checkout" }]

[[services]]
name = "plain"
addresses = ["10.96.0.12:80"]
backends = ["10.0.0.9:80"]
"""


@pytest.fixture(scope="module")
def config():
    found = toml.loads(TEXT)
    check(found)
    return found


@pytest.fixture
def ask(config):
    def asked(service="orders", **request) -> Explanation:
        return explain(config, service, **request)

    return asked


def test_an_allowance_names_rule_limits_route_and_backends(ask):
    found = ask(source="checkout", method="POST", target="/orders/7?secret=1")
    assert (found.allowed, found.reason, found.rule) == (True, "by_rule", "ours")
    assert (found.workload, found.path, found.route) == ("checkout", "/orders/7", "order")
    assert [(one.name, one.refuses) for one in found.limits] == [("all", False), ("writes", False)]
    assert found.faults == ["chaos: 1 % of requests to /orders/** with 503"] or found.faults[0].startswith(
        "chaos: 1 %"
    )
    assert found.backends == [
        Choice(address="10.0.0.1:8080", share=0.25), Choice(address="10.0.0.2:8080", share=0.75),
    ]  # fmt: skip
    assert found.reply is None
    assert "secret" not in str(found)


def test_a_denial_is_first(ask):
    found = ask(source="checkout", target="/x/../admin/")
    assert (found.allowed, found.reason, found.rule, found.path) == (False, "by_rule", "no-admin", "/admin/")
    assert found.reply is not None
    assert found.reply.startswith("410")
    assert found.steps[0].matched
    assert "no-admin denies" in found.sentence


def test_what_no_rule_allows_is_denied(ask):
    found = ask(source="/mesh/other")
    assert (found.allowed, found.reason, found.rule, found.workload) == (False, "not_allowed", None, None)
    assert [step.name for step in found.steps[:3]] == ["no-admin", "ours", "lan"]


@pytest.mark.parametrize(
    ("source", "workload"),
    [
        ("checkout", "checkout"),
        ("spiffe://example.org/ns/shop/sa/checkout", "checkout"),
        ("/mesh/checkout/worker", "checkout"),
        (["admin", "10.0.0.9"], "admin"),
    ],
)
def test_who_asks_can_be_told_in_several_ways(ask, source, workload):
    found = ask(source=source)
    assert (found.workload, found.rule) == (workload, "ours")


def test_an_address_and_a_host_allow(ask):
    headers = [("Host", "A.Shop.Example:8080")]
    assert ask(source="192.168.7.1", headers=headers).rule == "lan"
    assert ask(source="10.0.0.1", headers=headers).rule is None
    assert ask(source="192.168.7.1").notes == ["no host was given, and rules ask for one: say -H 'host: …'"]


def test_a_target_that_names_a_host_leaves_it_in_doubt(ask):
    """Also where both say the same: servers differ in which counts, and a denial may hold for one of them."""
    for headers in ([], [("Host", "b.shop.example")]):
        found = ask(source="192.168.7.1", target="http://b.shop.example/x", headers=headers)
        assert (found.allowed, found.reason, found.path) == (False, "not_allowed", "/x")
        assert "lan: the host cannot be told, and is taken as another" in str(found.steps[2])
        assert found.notes[0].startswith("the target names a host")


def test_the_authority_of_http2_is_the_host(config):
    http2 = replace(config, services=(replace(config.services[0], l7="http2"), *config.services[1:]))
    assert explain(http2, "orders", source="192.168.7.1", target="http://b.shop.example/x").rule == "lan"


UPGRADE = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "h2c")]
WEBSOCKET = [UPGRADE[0], ("Upgrade", "WebSocket")]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"method": "CONNECT", "target": "a.example:443"}, "tunnels"),
        ({"headers": UPGRADE}, "tunnels"),
        ({"headers": [*WEBSOCKET, ("Upgrade", "h2c")]}, "tunnels"),
        ({"headers": UPGRADE, "target": "/" + "a" * 4090}, "bad_path"),
        (
            {"headers": UPGRADE, "target": "/?" + "a" * 4090},
            "tunnels",
        ),  # nothing of Upgrade has room in the record
        ({"headers": [UPGRADE[0], ("Upgrade", "websocket, h2c")], "target": "/?" + "a" * 3700}, "tunnels"),
        ({"headers": WEBSOCKET}, "by_rule"),
        ({"headers": UPGRADE[1:]}, "by_rule"),  # no option of Connection: nobody may switch
        ({"method": "connect", "target": "/a"}, "by_rule"),
    ],
)
def test_what_opens_a_tunnel_is_refused(ask, request_, reason):
    found = ask(source="checkout", **request_)
    assert found.reason == reason
    if reason == "tunnels":
        assert (found.allowed, found.rule) == (False, None)
        assert found.sentence.endswith(
            "would open a tunnel, in which others pass unseen; the client is told 400"
        )
        assert found.limits[0].name == "all"  # it was a request, and is counted as one


def test_a_tunnel_passes_where_what_cannot_be_followed_does(config):
    service = replace(config.services[0], http=Http(undecodable="pass"))
    passes = replace(config, services=(service,))
    for request in ({"method": "CONNECT", "target": "a.example:443"}, {"headers": UPGRADE}):
        assert explain(passes, "orders", source="checkout", **request).rule == "ours"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"headers": [("Host", "a"), ("Host", "a")]}, "repeated host"),
        ({"target": "/a b"}, "bad version"),
        ({"headers": {"Transfer-Encoding": "gzip"}}, "bad transfer encoding"),
    ],
)
def test_what_cannot_be_read_is_told_as_the_parser_says_it(ask, config, request_, why):
    found = ask(source="checkout", **request_)
    assert (found.allowed, found.reason, found.request) == (False, "undecodable", None)
    assert why in found.sentence
    assert found.sentence.endswith("the client is told 400")
    passes = replace(config, services=(replace(config.services[0], http=Http(undecodable="pass")),))
    assert explain(passes, "orders", source="checkout", **request_).allowed


def test_no_request_hides_in_a_header(ask):
    with pytest.raises(ConfigError, match="line end"):
        ask(headers={"x-debug": "1\r\n\r\nGET /admin HTTP/1.1"})


SHOPPING = (
    b"GET /orders/1?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
    b"POST /admin HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "
    b"GET http://x/ HTTP/1.1\r\n\r\n"
)


def test_a_recording_is_explained_request_by_request(config):
    """A tunnel that was refused is none: what follows it is judged as before."""
    found = list(explain_recorded(config, "orders", SHOPPING + b"GET / HTTP/9\r\n\r\n", source="checkout"))
    assert [(one.request, one.reason, one.rule) for one in found] == [
        ("GET /orders/1", "by_rule", "ours"),
        ("CONNECT b:80", "tunnels", None),
        ("POST /admin", "by_rule", "no-admin"),
        ("GET /", "by_rule", "ours"),
        (None, "undecodable", None),
    ]
    chat = b"GET /chat HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /admin"
    tunnel = SHOPPING.partition(b"CONNECT")[0] + chat
    assert [one.request for one in explain_recorded(config, "orders", tunnel, source="checkout")] == [
        "GET /orders/1",
        "GET /chat",
    ]
    with pytest.raises(ConfigError, match="has no l7"):
        next(explain_recorded(config, "db", SHOPPING))


def test_the_command_explains_a_recording(file, tmp_path, capsys):
    (tmp_path / "requests").write_bytes(SHOPPING)
    words = ["explain", str(file), "--service", "orders", "--recorded", str(tmp_path / "requests")]
    assert main([*words, "--from", "checkout"]) == 0
    first = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert first[1] == (
        "2 CONNECT b:80: the request is refused: it would open a tunnel, in which others pass unseen; "
        "the client is told 400"
    )
    assert main([*words, "--json"]) == 0
    assert [one["request"] for one in json.loads(capsys.readouterr().out)][2] == "POST /admin"
    assert main([*words[:-1], str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_limit_that_is_used_up_refuses(ask):
    found = ask(source="checkout", method="POST", exhausted=["writes"])
    assert (found.allowed, found.reason, found.rule) == (False, "limited", "writes")
    assert [(one.name, one.refuses) for one in found.limits] == [("all", False), ("writes", True)]
    assert found.reply is not None
    assert found.reply.startswith("429")


def test_an_audit_is_told(ask):
    assert ask(source="checkout", headers={"X-Debug": "1"}).audited
    assert not ask(source="checkout").audited


def test_a_path_that_cannot_be_normalised(ask):
    found = ask(source="checkout", target="/a%2fb")
    assert (found.reason, found.path) == ("bad_path", None)
    assert "an encoded slash" in found.sentence


def test_a_target_has_no_fragment(ask):
    assert not ask(method="GET", target="/admin#x").allowed


def test_the_tier_is_the_lowest_that_can_do_it(ask):
    assert ask().tier == "l7"
    assert "no-admin asks for the request" in ask().tier_why
    database = ask("db", source="checkout", method=None)
    assert (database.tier, database.allowed, database.rule) == ("connect", True, "only-checkout")
    assert "EACCES" in database.tier_why
    refused = ask("db")
    assert (refused.allowed, refused.reply) == (False, None)
    assert refused.notes == ["nothing of the request is looked at: the service has no l7"]
    assert "no rules" in ask("plain", method=None).tier_why


def test_a_service_is_found_by_its_address(ask):
    assert ask("10.96.0.11:5432", method=None).service == "db"


@pytest.mark.parametrize(
    ("request_", "where", "what"),
    [
        ({"service": "nix"}, "service", "there is no service 'nix'"),
        ({"service": "10.9.9.9:80"}, "service", "no service has the address 10.9.9.9:80"),
        ({"source": "nix"}, "from", "there is no workload 'nix'"),
        ({"source": ["checkout", "admin"]}, "from", "a second one"),
        ({"exhausted": ["nix"]}, "exhausted", "there is no limit 'nix'"),
    ],
)
def test_what_is_not_there_is_an_error(ask, request_, where, what):
    with pytest.raises(ConfigError, match=what) as caught:
        ask(**request_)
    assert caught.value.where == where


def test_connect_and_asterisk_have_no_path(ask):
    assert ask(source="checkout", method="CONNECT", target="a.example:443").path is None
    assert ask(source="checkout", method="OPTIONS", target="*").path is None


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.toml"
    path.write_text(TEXT)
    return path


def test_the_command_takes_the_request_between_options(file, capsys):
    words = [
        "explain",
        str(file),
        "--service",
        "orders",
        "--from",
        "checkout",
        "POST",
        "/admin/x",
        "-H",
        "x-debug: 1",
    ]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rule no-admin denies the request; the client is told 410"
    assert any(line.startswith("  tier       l7: ") for line in lines)


def test_the_command_gives_json(file, capsys):
    assert (
        main(["explain", "--json", "--service", "orders", str(file), "/orders/7", "--from", "checkout"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["route"], found["backends"][1]["share"]) == ("ours", "order", 0.75)


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [([], "GET", "/"), (["POST"], "POST", "/"), (["/a"], "GET", "/a"), (["PUT", "/a"], "PUT", "/a")],
)
def test_method_and_target_may_be_left_out(file, capsys, words, method, path):
    assert main(["explain", str(file), "--service", "orders", "--from", "checkout", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == path
    assert len(found["limits"]) == (2 if method == "POST" else 1)


@pytest.mark.parametrize("words", [[], ["FILE"], ["--service", "orders"], ["--recent", "shop", "FILE"]])
def test_wrong_usage(file, capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(["explain", *(str(file) if word == "FILE" else word for word in words)])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_errors_are_one_line(file, tmp_path, capsys):
    assert main(["explain", str(file), "--service", "nix"]) == 1
    assert main(["explain", str(file), "--service", "orders", "-H", "none"]) == 1
    (tmp_path / "run").mkdir()
    assert main(["--run-root", str(tmp_path / "run"), "explain", "--recent", "nix"]) == 1
    assert [line.partition("error: ")[2][:20] for line in capsys.readouterr().err.splitlines()] == [
        "service: there is no", "-H: 'none' is no hea", f"{tmp_path}/run: no mesh"[:20],
    ]  # fmt: skip
