"""Fixtures of the tests with real peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from differential.ours import Reader
from ebpfmesh import l7
from peers.relay import Recording
from peers.servers import Nginx, nginx

if TYPE_CHECKING:
    from peers.l7_stage import Stage

Decode = Callable[[str, Recording], Reader]


@pytest.fixture(params=["native", pytest.param("kernel", marks=pytest.mark.kernel)])
def decode(request: pytest.FixtureRequest) -> Iterator[Decode]:
    """decode(protocol, recording): what our parser reads of it, by the native core and by the one in the kernel."""
    with ExitStack() as loaded:
        engines: dict[str, Any] = {}

        def run(protocol: str, recording: Recording) -> Reader:
            if request.param == "kernel" and protocol not in engines:
                from ebpfmesh import harness

                engines[protocol] = loaded.enter_context(harness.load(protocol))
            room = 4096 if request.param == "kernel" else 65536
            config = l7.Config(all_headers=True, text_limit=room, block_limit=room, head_limit=1 << 20)
            reader = Reader(protocol, config, engines.get(protocol))
            for direction, data in recording.pieces:
                reader.feed(direction, data)
            return reader

        yield run


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx of HTTP/1."""
    with nginx(tmp_path_factory.mktemp("nginx") / "here") as running:
        yield running


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where servers are behind a mesh; the module's tests start it."""
    from peers.l7_stage import Stage

    with Stage(tmp_path_factory.mktemp("stage")) as made:
        yield made
