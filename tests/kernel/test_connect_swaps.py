"""Applies under load: every connection succeeds, and lands on a backend of a model that was in force while it was made."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from connect_peers import Site, eventually, idle

from ebpfmesh.policy.model import Capacity, Service

pytestmark = pytest.mark.kernel

CLIENTS = 4
APPLIES = 50
BALANCERS = ["round-robin", "maglev", "weighted-random", "random", "weighted-round-robin", "maglev-sticky"]

# Each line: when it began, when it ended, the address, the backend or what failed.
TCP = """
import socket, sys, time
hosts = sys.argv[1:]
print("ready", flush=True)
number = 0
while True:
    host = hosts[number % len(hosts)]
    number += 1
    began = time.monotonic_ns()
    try:
        with socket.create_connection((host, 80), 20) as one:
            ended = time.monotonic_ns()
            text = b""
            while not text.endswith(b"\\n"):
                text += one.recv(100)
    except Exception as error:
        ended, text = time.monotonic_ns(), repr(error).replace(" ", "_").encode()
    print(began, ended, host, text.decode().strip(), flush=True)
"""
UDP = """
import socket, sys, time
hosts = sys.argv[1:]
print("ready", flush=True)
number = 0
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(20)
while True:
    host = hosts[number % len(hosts)]
    number += 1
    began = time.monotonic_ns()
    try:
        one.sendto(b"?", (host, 80))
        ended = time.monotonic_ns()
        text, source = one.recvfrom(100)
        assert source == (host, 80), source
        text = text.partition(b"\\n")[0]
    except Exception as error:
        ended, text = time.monotonic_ns(), repr(error).replace(" ", "_").encode()
    print(began, ended, host, text.decode().strip(), flush=True)
"""


def run_clients(site: Site, program: str, hosts: Sequence[str], work: Callable[[], None]) -> list[list[str]]:
    """What the clients wrote while ``work`` was done, in words."""
    command = [sys.executable, "-c", program, *hosts]
    clients = site.call(
        lambda: [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    )
    try:
        said: list[list[str]] = [[] for _ in clients]

        def follow(number: int) -> None:
            stream = clients[number].stdout
            assert stream is not None
            said[number].extend(stream)

        readers = [threading.Thread(target=follow, args=(number,)) for number in range(CLIENTS)]
        for reader in readers:
            reader.start()
        while not all(lines for lines in said):
            time.sleep(0.01)
        work()
    finally:
        for client in clients:
            client.kill()
            client.wait()
    for reader in readers:
        reader.join()
    for client in clients:
        assert client.stdout is not None
        client.stdout.close()
    return [line.split() for lines in said for line in lines[1:] if line.endswith("\n")]


class Swaps:
    """Models applied one after the other, the first of them by the start, and when each may have been in force."""

    def __init__(
        self, site: Site, models: Sequence[list[Service]], *, collect: bool = False, **options: Any
    ) -> None:
        self.site, self.models, self.collect, self.options = site, models, collect, options
        self.mesh = site.mesh(*models[0], **options)
        self.applies: list[tuple[int, int]] = []
        """When the apply of models[1], models[2], … began and ended: nanoseconds, monotonic."""

    def __call__(self) -> None:
        for model in self.models[1:]:
            began = time.monotonic_ns()
            self.mesh.apply(self.site.config(*model, **self.options))
            self.applies.append((began, time.monotonic_ns()))
            if self.collect:
                self.mesh.collect()
            time.sleep(0.01)

    def in_force(self, began: int, ended: int) -> Iterator[list[Service]]:
        """The models that may have been current at some moment between the two."""
        for number, model in enumerate(self.models):
            since = self.applies[number - 1][0] if number else 0
            until = self.applies[number][1] if number < len(self.applies) else ended
            if since <= ended and began <= until:
                yield model

    def check(self, lines: list[list[str]]) -> None:
        """Every connection reached a backend of a model that was in force between its begin and its end."""
        assert len(lines) > 10 * CLIENTS
        for began, ended, host, backend in lines:
            allowed = {
                one.address
                for model in self.in_force(int(began), int(ended))
                for service in model
                if f"{host}:80" in service.addresses
                for one in service.backends
            }
            assert backend in allowed, f"{host} gave {backend}, which was none of {sorted(allowed)}"


@pytest.mark.parametrize(("protocol", "program"), [("tcp", TCP), ("udp", UDP)])
def test_backends_are_swapped_under_load_and_no_connection_fails(
    site: Site, protocol: str, program: str
) -> None:
    names = site.servers.many(6, kind=protocol)

    def model(number: int) -> list[Service]:
        first = number * 2 % 6
        balance = BALANCERS[number % len(BALANCERS)]
        chosen = (*names[first : first + 2],)
        return [
            # two addresses of one service, and another service: a change of several frontends, made current by one store
            Service("one", protocol, ("10.96.0.1:80", "10.96.0.2:80"), chosen, balance=balance),  # type: ignore[arg-type]
            Service("two", protocol, ("10.96.0.3:80",), tuple(reversed(chosen)), balance=balance),  # type: ignore[arg-type]
        ]

    swaps = Swaps(site, [model(number) for number in range(APPLIES + 1)])
    swaps.check(run_clients(site, program, ["10.96.0.1", "10.96.0.2", "10.96.0.3"], swaps))
    for name in ("one", "two"):
        seen = idle(swaps.mesh, name)
        assert (seen.errors, seen.refused) == (0, 0)


def test_an_address_that_moves_between_services_under_load_is_never_nobodys(site: Site) -> None:
    names = site.servers.many(2)
    moving = "10.96.0.1:80"
    models = [
        [Service("a", "tcp", (moving,), (names[0],)), Service("b", "tcp", ("10.96.0.2:80",), (names[1],))],
        [
            Service("a", "tcp", ("10.96.0.3:80",), (names[0],)),
            Service("b", "tcp", ("10.96.0.2:80", moving), (names[1],)),
        ],
    ]
    swaps = Swaps(site, [models[number % 2] for number in range(31)])
    swaps.check(run_clients(site, TCP, [moving.partition(":")[0]], swaps))


def test_what_applies_retire_is_collected_under_load_and_numbers_are_used_again(site: Site) -> None:
    """Capacity for one change at a time: without the collecting, the second apply would not fit."""
    names = site.servers.many(6)
    models = [
        [Service("web", "tcp", ("10.96.0.1:80",), (names[number % 6], names[(number + 1) % 6]))]
        for number in range(31)
    ]
    swaps = Swaps(site, models, capacity=Capacity(backends=8, slots=64), collect=True)
    swaps.check(run_clients(site, TCP, ["10.96.0.1"], swaps))
    seen = idle(swaps.mesh, "web")
    assert (seen.errors, seen.refused) == (0, 0)
    eventually(lambda: not swaps.mesh.collect(), "everything is collected")
    maps = swaps.mesh.connect.objects.maps
    assert {name: maps[name].count() for name in ("addresses", "backends", "services")} == {
        "addresses": 1,
        "backends": 2,
        "services": 1,
    }


def test_an_address_that_gets_and_loses_a_closer_service_under_load_always_leads_somewhere(
    site: Site,
) -> None:
    """The namespace's own service comes and goes over the one for all; its tombstone hides nothing."""
    everywhere, here = site.servers.many(2)
    shared = Service("everywhere", "tcp", ("10.96.0.1:80", "10.96.0.2:80"), (everywhere,))
    closer = Service("here", "tcp", shared.addresses, (here,), namespace=site.netns.path)
    swaps = Swaps(site, [[shared, closer] if number % 2 else [shared] for number in range(41)])
    lines = run_clients(site, TCP, ["10.96.0.1", "10.96.0.2"], swaps)
    swaps.check(lines)
    assert {backend for *_, backend in lines} == {everywhere, here}


HOLD = """
import random, socket, sys
dice = random.Random(int(sys.argv[1]))
kind = int(sys.argv[2])
held = []
print("ready", flush=True)
while True:
    one = socket.socket(socket.AF_INET, kind)
    one.settimeout(20)
    try:
        one.connect(("10.96.0.1", 80))
        one.send(b"x")
    except OSError as error:
        assert error.errno in (89, 103, 104), error  # it was destroyed in the middle of it
    held.append(one)
    if len(held) > 30:
        held.pop(dice.randrange(30)).close()
"""


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_after_an_apply_no_socket_of_a_removed_backend_is_left_however_busy_it_was(
    site: Site, protocol: str
) -> None:
    names = site.servers.many(4, kind=protocol)

    def model(number: int) -> Service:
        chosen = (names[number % 4], names[(number + 1) % 4])
        return Service("svc", protocol, ("10.96.0.1:80",), chosen, removed_backends="destroy")  # type: ignore[arg-type]

    mesh = site.mesh(model(0))
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    commands = [[sys.executable, "-c", HOLD, str(seed), str(int(kind))] for seed in range(3)]
    clients = site.call(
        lambda: [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    )
    try:
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for number in range(1, 16):
            mesh.put(model(number))
            allowed = {one.address for one in model(number).backends}
            left = [
                one for one in mesh.connect.sockets() if one.settled and str(one.destination) not in allowed
            ]
            assert not left
            time.sleep(0.02)
        assert all(client.poll() is None for client in clients)
    finally:
        for client in clients:
            client.kill()
            client.wait()
            assert client.stdout is not None
            client.stdout.close()
    seen = idle(mesh, "svc")
    assert seen.errors == 0
    assert seen.opened > 100
