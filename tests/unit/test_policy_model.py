"""The model: short forms, lookup by name, and TOML with errors that say where."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ebpfmesh.engine.balance import HashKey
from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import Backend, Balance, Config, Service, toml

FILE = """
name = "shop"
cgroup = "/shop"
memory_budget = "64MiB"

[capacity]
services = 100

[[services]]
name = "web"
addresses = ["10.96.0.10:80", "[fd00::10]:80"]
backends = ["127.0.0.1:8001", { address = "[::1]:8002", weight = 3, draining = true }]
balance = "maglev"

[[services]]
name = "dns"
protocol = "udp"
addresses = ["10.96.0.53:53"]
backends = []
balance = { name = "maglev", table = 251, key = "source-address" }
namespace = "/run/netns/blue"
no_backend = "EHOSTUNREACH"
on_error = "fail_open"
removed_backends = "destroy"
"""


def test_a_file_and_python_make_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_text(FILE)
    config = toml.read(path)
    web, dns = config.services
    assert web == Service(
        "web",
        addresses=("10.96.0.10:80", "[fd00::10]:80"),
        backends=(Backend("127.0.0.1:8001"), Backend("[::1]:8002", weight=3, draining=True)),
        balance=Balance("maglev"),
    )
    assert dns.balance.hash_key is HashKey.SOURCE_ADDRESS
    assert dns.no_backend_errno == 113
    assert [backend.effective_weight for backend in web.backends] == [1, 0]
    assert config.memory_budget_bytes == 64 << 20
    assert config.capacity.services == 100
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


def test_python_takes_the_short_forms_too() -> None:
    short = Service("web", addresses=["10.0.0.1:80"], backends=["127.0.0.1:1"], balance="random")  # type: ignore[arg-type]
    long = Service("web", "tcp", ("10.0.0.1:80",), (Backend("127.0.0.1:1"),), Balance("random"))
    assert short == long
    assert Config("x", "/x", iter([short])) == Config("x", "/x", (long,))  # type: ignore[arg-type]


def test_every_key_has_its_number() -> None:
    keys = ("workload", "source-address", "destination", "mark")
    assert [Balance(key=key).hash_key for key in keys] == list(HashKey)


def test_services_are_found_put_and_removed_by_name() -> None:
    services = tuple(Service(f"s{n}") for n in range(5))
    config = Config("x", "/x", services)
    assert config.by_name("s3") is services[3]
    assert config.by_name("s9") is None
    other = Service("s3", protocol="udp")
    changed = config.with_service(other)
    assert changed.by_name("s3") is other
    assert changed.services == (*services[:3], other, services[4])
    assert config.by_name("s3") is services[3]
    added = changed.with_service(Service("s9"))
    assert [service.name for service in added.services][-1] == "s9"
    assert added.by_name("s9") is added.services[5]
    removed = added.without("s0")
    assert [removed.by_name(name) is not None for name in ("s0", "s1", "s9")] == [False, True, True]
    with pytest.raises(KeyError):
        removed.without("s0")


HEAD = 'name = "x"\ncgroup = "/x"\n'
ONE = HEAD + '[[services]]\nname = "a"\n[[services]]\nname = "b"\n[[services]]\nname = "c"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE + "port = 3", "$.services[2].port: there is no field 'port' (there are: name, protocol"),
        (ONE + 'adresses = []', "$.services[2].adresses: there is no field 'adresses' (did you mean 'addresses'?)"),
        (HEAD + "[[service]]", "$.service: there is no field 'service' (did you mean 'services'?)"),
        (HEAD + "[capacity]\nslot = 3", "$.capacity.slot: there is no field 'slot' (did you mean 'slots'?)"),
        (HEAD + "[capacity]\nslots = 0", "$.capacity.slots: expected int >= 4"),
        (
            ONE + 'backends = ["a", { address = "b", wieght = 1 }]',
            "$.services[2].backends[1].wieght: there is no field 'wieght' (did you mean 'weight'?)",
        ),
        (ONE + 'backends = [{ weight = 1 }]', "$.services[2].backends[0].address: it is missing"),
        (ONE + 'backends = ["a", 5]', "$.services[2].backends[1]: expected object, got int"),
        (ONE + 'backends = "a"', "$.services[2].backends: expected array, got str"),
        (ONE + 'backends = [{ address = "a", weight = 65536 }]', "$.services[2].backends[0].weight: expected int <= 655"),
        (ONE + 'backends = [{ address = "a", weight = -1 }]', "$.services[2].backends[0].weight: expected int >= 0"),
        (ONE + 'backends = [{ address = "a", weight = 1.5 }]', "$.services[2].backends[0].weight: expected int, got fl"),
        (ONE + 'balance = 5', "$.services[2].balance: expected object, got int"),
        (ONE + 'balance = { key = "ip" }', "$.services[2].balance.key: invalid enum value 'ip' (one of: workload,"),
        (ONE + 'protocol = "sctp"', "$.services[2].protocol: invalid enum value 'sctp' (one of: tcp, udp)"),
        (ONE + 'no_backend = "EAGAIN"', "$.services[2].no_backend: invalid enum value 'EAGAIN' (one of: ECONN"),
        (HEAD + "services = 5", "$.services: expected array, got int"),
        (HEAD + "services = [5]", "$.services[0]: expected object, got int"),
        ('cgroup = "/x"', "$.name: it is missing"),
        ("", "$.name: it is missing"),
        ('name = "x"\ncgroup = [', "configuration:2: it is no TOML: "),
        ('name = "x"\n\ncgroup = yes', "configuration:3:10: it is no TOML: invalid value"),
        ('name = "x"\nname = "y"', "configuration:2: it is no TOML: cannot overwrite a value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_with_its_path(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        toml.loads(text)
    assert str(error.value).startswith(message)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: it cannot be read: No such file"):
        toml.read(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="it cannot be read: Is a directory"):
        toml.read(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "x"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:2: it is not UTF-8"):
        toml.read(tmp_path / "latin.toml")


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(ConfigError, match=r"too deeply|no TOML"):
        toml.loads("x = " + "[" * 100_000)


def test_reading_leaves_the_given_mapping_alone() -> None:
    data = {
        "name": "x",
        "cgroup": "/x",
        "services": [{"name": "a", "backends": ["127.0.0.1:1"], "balance": "random"}],
    }
    kept = msgspec.json.encode(data)
    toml.from_mapping(data)
    assert msgspec.json.encode(data) == kept
