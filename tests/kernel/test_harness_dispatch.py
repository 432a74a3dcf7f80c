"""Somebody's parser is loaded next to the built-in ones, behind one entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parcel import EVERY_KIND, build, parcel

from ebpfmesh import harness
from ebpfmesh.errors import ClosedError, ConfigError, EbpfMeshError
from ebpfmesh.harness import Dispatcher
from ebpfmesh.l7.contract import REQUEST, Config

pytestmark = pytest.mark.kernel(feature="loop")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("parcel"))


@pytest.fixture
def several(_leaks_fail: None) -> Iterator[Dispatcher]:
    with Dispatcher() as opened:
        yield opened


def test_each_parser_gets_its_own_bytes(several, built):
    redis, mine = several.add("redis"), several.add(path=built)
    assert list(several.engines) == ["redis", "parcel"]
    command = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    first, second = redis.connection(), mine.connection()
    told: dict[str, list[object]] = {"redis": [], "parcel": []}
    for at in range(max(len(command), len(EVERY_KIND))):
        told["redis"] += first.feed(REQUEST, command[at : at + 1])
        told["parcel"] += second.feed(REQUEST, EVERY_KIND[at : at + 1])
    with harness.load("redis") as alone:
        assert told["redis"] == alone.connection().feed(REQUEST, command, splits=range(len(command)))
    with harness.load(path=built) as alone:
        assert told["parcel"] == alone.connection().feed(REQUEST, EVERY_KIND, splits=range(len(EVERY_KIND)))


def test_the_entry_is_what_runs_a_parser(several, built):
    connection = several.add(path=built).connection(Config())
    several._slots.delete(0)
    with pytest.raises(EbpfMeshError, match=r"protocol number 0: its slot is empty"):
        connection.feed(REQUEST, parcel(b"T", b"a"))


def test_a_parser_that_is_there_is_not_added_again(several, built):
    several.add(path=built)
    with pytest.raises(ConfigError, match=r"parser parcel: a parser of this name is there"):
        several.add(path=built)
    assert several.engines["parcel"].connection().feed(REQUEST, parcel(b"T", b"a"))


def test_closing_unloads_all(built):
    with Dispatcher() as several:
        connection = several.add(path=built).connection()
    with pytest.raises(ClosedError):
        connection.feed(REQUEST, b"T")
