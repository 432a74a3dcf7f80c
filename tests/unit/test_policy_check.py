"""The check: each thing that can be wrong, with its path; and the incremental check against the whole one."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.policy import Backend, Balance, Capacity, Config, Service
from ebpfmesh.policy.address import parse
from ebpfmesh.policy.check import check, check_service, problems
from ebpfmesh.policy.index import Index
from ebpfmesh.policy.notice import notices


def service(**fields: Any) -> Service:
    """A service without problems, with these fields instead."""
    return Service(
        **{"name": "web", "addresses": ("10.0.0.1:80",), "backends": ("127.0.0.1:8001",), **fields}
    )


def config(*services: Any, **fields: Any) -> Config:
    """A configuration of these services."""
    return Config(**{"name": "mesh", "cgroup": "/mesh", "services": services, **fields})


def said(*services: Any, **fields: Any) -> list[str]:
    """The problems, as text."""
    return [str(problem) for problem in problems(config(*services, **fields))]


def test_a_sound_configuration_has_no_problems() -> None:
    sound = config(
        service(),
        service(name="six", addresses=("[fd00::1]:80",), backends=("127.0.0.1:1", "[::1]:1")),
        service(name="both", addresses=("10.0.0.2:80", "[fd00::2]:80"), backends=("127.0.0.1:1",)),
        service(name="udp", protocol="udp", addresses=("10.0.0.1:80", "[fd00::1]:80"), backends=("127.0.0.1:1", "[::1]:1")),
        service(name="blue", namespace="/run/netns/blue"),
        service(name="none", addresses=("10.0.0.9:80", "[fd00::9]:80"), backends=()),
        service(name="unreached", addresses=()),
        service(name="leaving", addresses=("10.0.0.8:80",), backends=(Backend("127.0.0.1:1", draining=True),)),
        service(name="ein Dienst, ärgerlich lang", addresses=("10.0.0.7:80",), balance=Balance("maglev", 65537)),
    )  # fmt: skip
    assert problems(sound) == []
    check(sound)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": ""}, ".name: '' is no name of a service (1 to 63 bytes"),
        ({"name": "x" * 64}, ".name: '"),
        ({"name": "é" * 32}, ".name: '"),
        ({"name": "a\nb"}, ".name: 'a\\nb' is no name"),
        ({"name": " a"}, ".name: ' a' is no name"),
        ({"name": 5}, ".name: expected str, got int"),
        ({"protocol": "sctp"}, ".protocol: invalid enum value 'sctp' (one of: tcp, udp)"),
        ({"addresses": ("10.0.0.1",)}, ".addresses[0]: '10.0.0.1' has no port"),
        ({"addresses": ("10.0.0.1:80", "[::ffff:10.0.0.1]:80")}, ".addresses[1]: 10.0.0.1:80 is $.services[0].addr"),
        ({"addresses": "10.0.0.1:80"}, ".addresses: expected array, got str"),
        ({"addresses": (80,)}, ".addresses[0]: expected str, got int"),
        ({"backends": (Backend("127.0.0.1:0"),)}, ".backends[0].address: '127.0.0.1:0': '0' is no port"),
        ({"backends": ("127.0.0.1:1", "127.0.0.1:1")}, ".backends[1].address: 127.0.0.1:1 is $.services[0].backends[0]"),
        ({"backends": 5}, ".backends: expected array, got int"),
        ({"backends": (5,)}, ".backends[0]: expected object, got int"),
        ({"backends": (None,)}, ".backends[0]: expected object, got null"),
        ({"backends": (Backend("127.0.0.1:1", weight=65536),)}, ".backends[0].weight: expected int <= 65535"),
        ({"backends": (Backend("127.0.0.1:1", weight=-1),)}, ".backends[0].weight: expected int >= 0"),
        ({"backends": (Backend("127.0.0.1:1", weight=1.5),)}, ".backends[0].weight: expected int, got float"),  # type: ignore[arg-type]
        ({"backends": (Backend("127.0.0.1:1", weight=True),)}, ".backends[0].weight: expected int, got bool"),
        ({"backends": (Backend("127.0.0.1:1", draining="no"),)}, ".backends[0].draining: expected bool"),  # type: ignore[arg-type]
        ({"backends": (Backend("127.0.0.1:1", 0), Backend("127.0.0.1:2", 0))}, ".backends: no backend has a weight"),
        ({"backends": (Backend("127.0.0.1:1", 0), Backend("127.0.0.1:2", 1, True))}, ".backends: no backend has a weight"),
        ({"backends": ("10.0.0.1:80",)}, ".backends[0].address: 10.0.0.1:80 is an address of this service"),
        ({"balance": Balance("magelv")}, ".balance.name: there is no balancer 'magelv'"),
        ({"balance": Balance("maglev", 250)}, ".balance.table: a Maglev table has a prime number of slots"),
        ({"balance": Balance("random", 251)}, ".balance.table: random has one slot a backend"),
        ({"balance": Balance(key="ip")}, ".balance.key: invalid enum value 'ip'"),  # type: ignore[arg-type]
        ({"namespace": "blue"}, ".namespace: 'blue' is no absolute path"),
        ({"no_backend": "EAGAIN"}, ".no_backend: invalid enum value 'EAGAIN'"),
        ({"addresses": ("[fd00::1]:80", "10.0.0.1:80"), "backends": ("[::1]:1",)}, ".addresses[1]: 10.0.0.1:80 is IPv4"),
        ({"addresses": ("[::ffff:10.0.0.1]:80",), "backends": ("[::1]:1",)}, ".addresses[0]: 10.0.0.1:80 is IPv4 and"),
        ({"backends": ("127.0.0.1:1", "[::1]:1")}, ".backends[1].address: [::1]:1 is IPv6 and no address is"),
        ({"protocol": "udp", "addresses": ("[fd00::1]:80",)}, ".addresses[0]: [fd00::1]:80 is IPv6 over UDP and"),
        (
            {"protocol": "udp", "addresses": ("[fd00::1]:80",), "backends": ("[::1]:1", "127.0.0.1:1")},
            ".backends[1].address: 127.0.0.1:1 is IPv4 and no address is: nobody who asks for IPv6 over udp reaches it",
        ),
    ],
)  # fmt: skip
def test_each_problem_of_a_service_has_its_path(fields: dict[str, Any], expected: str) -> None:
    found = said(service(**fields))
    assert len(found) == 1
    assert found[0].startswith(f"$.services[0]{expected}")
    alone = check_service(service(**fields), Index(), "$.services[0]")
    assert [str(problem) for problem in alone] == found
    with pytest.raises(ConfigError):
        check(config(service(**fields)))


def test_all_problems_are_found_not_just_the_first() -> None:
    wrong = service(addresses=("x", "0.0.0.0:1"), backends=("y", Backend("127.0.0.1:1", 0)), balance="z")
    where = [
        problem.where for problem in problems(config(service(name="ok", addresses=("10.0.0.2:1",)), wrong))
    ]
    assert where == [
        "$.services[1].addresses[0]",
        "$.services[1].addresses[1]",
        "$.services[1].backends[0].address",
        "$.services[1].balance.name",
    ]


def test_more_backends_than_ids_are_refused() -> None:
    backends = tuple(Backend(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1") for n in range(65536))
    assert said(service(addresses=("192.0.2.1:1",), backends=backends)) == [
        "$.services[0].backends: 65536 backends are more than a service can have (at most 65535)"
    ]
    assert said(service(addresses=("192.0.2.1:1",), backends=backends[:65535])) == []


def test_names_are_unique() -> None:
    assert said(service(), service(addresses=("10.0.0.2:80",))) == [
        "$.services[1].name: the name 'web' is that of $.services[0] already (names are unique in a mesh)"
    ]


def test_an_address_belongs_to_one_service_of_its_protocol_and_namespace() -> None:
    other = service(name="other", addresses=("10.0.0.2:80", "[::ffff:10.0.0.1]:80"))
    assert said(service(), other) == [
        "$.services[1].addresses[1]: tcp 10.0.0.1:80 is an address of service 'web' already "
        "(an address belongs to one service of its protocol and namespace)"
    ]
    assert said(service(), service(name="udp", protocol="udp")) == []
    assert said(service(), service(name="port", addresses=("10.0.0.1:81",))) == []
    blue, green = (service(name=name, namespace=f"/run/netns/{name}") for name in ("blue", "green"))
    assert said(service(), blue, green) == []
    assert len(said(blue, service(name="x", namespace="/run/netns/blue"))) == 1


def test_a_backend_that_is_a_service_address_is_refused_in_any_order() -> None:
    front = service(name="front", addresses=("10.0.0.2:80",), backends=("127.0.0.1:1", "10.0.0.1:80"))
    for services, position in (((service(), front), 1), ((front, service()), 0)):
        assert [problem.where for problem in problems(config(*services))] == [
            f"$.services[{position}].backends[1].address"
        ]
    assert said(front, service(protocol="udp")) == []
    assert said(front, service(namespace="/run/netns/blue")) == []


@pytest.mark.parametrize("name", ["", "Shop", "a/b", "..", "-a", "a-", "a b", "x" * 64, "a\n"])
def test_the_mesh_has_a_name_that_can_name_a_file(name: str) -> None:
    assert said(name=name)[0].startswith(f"$.name: {name!r} is no name of a mesh")
    assert said(name="a") == said(name="0-x" * 21) == []


@pytest.mark.parametrize("path", ["", "mesh", "./mesh", "/a/../b", "/..", "/a\0b"])
def test_the_cgroup_is_an_absolute_path(path: str) -> None:
    assert said(cgroup=path)[0].startswith(f"$.cgroup: {path!r} is no absolute path")


@pytest.mark.parametrize(
    "path", ["/", "//", "/.", "/sys/fs/cgroup", "/sys/fs/cgroup/", "/sys/fs/cgroup/unified/."]
)
def test_the_root_cgroup_has_to_be_allowed(path: str) -> None:
    assert said(cgroup=path)[0].startswith("$.cgroup: it is the root cgroup")
    assert said(cgroup=path, allow_root_cgroup=True) == []


def test_settings_of_a_wrong_type_are_refused() -> None:
    assert said(allow_root_cgroup="yes") == ["$.allow_root_cgroup: expected bool, got str"]
    assert said(memory_budget="lots")[0].startswith("$.memory_budget: 'lots' is no size")
    assert said(capacity=Capacity(services=0)) == ["$.capacity.services: expected int >= 1"]
    assert [str(one) for one in problems(Config("x", "/x", 5))] == [
        "$.services: it is int, not a tuple of services"
    ]  # type: ignore[arg-type]
    assert said("web") == ["$.services[0]: it is str, not a Service"]


def test_what_exceeds_a_capacity_is_a_capacity_error() -> None:
    found = problems(config(service(), capacity=Capacity(services=1, addresses=1, backends=1, slots=4)))
    assert found == []
    many = service(
        addresses=("10.0.0.1:1", "10.0.0.1:2"), backends=("127.0.0.1:1", "127.0.0.1:2"), balance="maglev"
    )
    found = problems(config(many, capacity=Capacity(services=1, addresses=1, backends=1, slots=248)))
    assert [type(problem) for problem in found] == [CapacityError] * 3
    assert [problem.where for problem in found] == [
        "$.capacity.addresses",
        "$.capacity.backends",
        "$.capacity.slots",
    ]
    assert "need 252 slots, and there is room for 248" in str(found[2])


ADDRESSES = st.sampled_from(
    ["10.0.0.1:1", "10.0.0.2:1", "[::ffff:10.0.0.2]:1", "[fd00::1]:1", "[fd00::2]:1", "0.0.0.0:1", "x"]
)
SERVICES = st.builds(
    Service,
    name=st.sampled_from("abcde"),
    protocol=st.sampled_from(["tcp", "udp"]),
    addresses=st.lists(ADDRESSES, max_size=2).map(tuple),
    backends=st.lists(st.builds(Backend, ADDRESSES, st.integers(0, 1), st.booleans()), max_size=3).map(tuple),
    namespace=st.sampled_from([None, None, "/blue", "green"]),
    balance=st.sampled_from([Balance(), Balance("maglev", 5), Balance("x")]),
)  # fmt: skip


@given(before=st.lists(SERVICES, max_size=6), one=SERVICES)
@settings(deadline=None)
def test_one_service_is_refused_exactly_when_the_whole_would_be(before: list[Service], one: Service) -> None:
    sound: list[Service] = []
    for candidate in before:
        if not problems(config(*sound, candidate)):
            sound.append(candidate)
    index = Index(sound)
    whole = config(*sound).with_service(one)
    assert bool(check_service(one, index)) is bool(problems(whole))


@given(steps=st.lists(st.tuples(st.booleans(), SERVICES), max_size=25))
@settings(deadline=None)
def test_an_index_kept_up_to_date_is_that_of_the_services_left(steps: list[tuple[bool, Service]]) -> None:
    index, model = Index(), Config("x", "/x")
    for put, one in steps:
        if put and not check_service(one, index):
            index.put(one)
            model = model.with_service(one)
        elif model.by_name(one.name):
            assert index.remove(one.name) is model.by_name(one.name)
            model = model.without(one.name)
    fresh = Index(model.services)
    assert len(index) == len(fresh) == len(model.services)
    for text in ("10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1", "[fd00::2]:1"):
        endpoint = parse(text)
        for protocol in ("tcp", "udp"):
            assert index.users(endpoint, protocol) == fresh.users(endpoint, protocol)
            for namespace in (None, "/blue"):
                assert index.owner(endpoint, namespace, protocol) == fresh.owner(
                    endpoint, namespace, protocol
                )


def test_notices_tell_what_is_allowed_and_yet_worth_knowing() -> None:
    rounded = service(
        backends=(Backend("127.0.0.1:1", 65535), Backend("127.0.0.1:2", 3)), balance="weighted-round-robin"
    )
    small = service(name="small", addresses=(), balance=Balance("maglev", 97))
    drained = service(name="drained", backends=(Backend("127.0.0.1:1", draining=True),))
    found = [
        str(notice) for notice in notices(config(rounded, small, drained, service(name="x", backends=())))
    ]
    assert [text.partition(":")[0] for text in found] == [
        "$.services[0].balance",
        "$.services[1].addresses",
        "$.services[2].backends",
        "$.services[3].backends",
    ]
    assert "4096 turns" in found[0]
    assert notices(config(service())) == []


def large(services: int) -> Config:
    """``services`` services of 10 backends."""
    return config(
        *(
            Service(
                f"s{n}",
                addresses=(f"10.0.{n >> 8}.{n & 255}:80",),
                backends=tuple(Backend(f"10.{b}.{n >> 8}.{n & 255}:80") for b in range(1, 11)),
            )
            for n in range(services)
        )
    )


def test_checking_one_service_takes_time_of_its_own_size() -> None:
    whole = large(2000)
    index = Index(whole.services)
    one = whole.services[7]
    start = time.process_time()
    for _ in range(100):
        assert not check_service(one, index)
    assert (time.process_time() - start) / 100 < 0.001


def test_a_large_configuration_is_checked_in_a_fraction_of_a_second() -> None:
    whole = large(1000)
    start = time.process_time()
    assert not problems(whole)
    # 0.4 s for 10,000 services is the bar, measured by the bench; this only sees a check that stopped being linear
    assert time.process_time() - start < 1


def test_a_capacity_that_is_none_is_a_configuration_error() -> None:
    config = Config("mesh", "/mesh", capacity={"services": 10})  # type: ignore[arg-type]
    assert [str(one) for one in problems(config)] == ["$.capacity: it is dict, not a Capacity"]
