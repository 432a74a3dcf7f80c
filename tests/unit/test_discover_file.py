"""Following a configuration file: every way to change one is seen, and no way to break one ends the stream."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ebpfmesh.discover.file import FileSource
from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy.model import Config

INTERVAL = 0.02


def text(number: int) -> str:
    return f'name = "demo"\ncgroup = "/demo"\nmemory_budget = {number}\n'


def number(found: Config | EbpfMeshError) -> int | str:
    return found.memory_budget if isinstance(found, Config) else "error"


def follow(path: Path, changes: list[Callable[[], object]]) -> list[Config | EbpfMeshError]:
    """What the source yields at first and after each change, each waited for."""

    async def run() -> list[Config | EbpfMeshError]:
        stream: AsyncIterator[Config | EbpfMeshError] = FileSource(path, interval=INTERVAL).watch()
        found = [await asyncio.wait_for(anext(stream), 5)]
        for change in changes:
            change()
            found.append(await asyncio.wait_for(anext(stream), 5))
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    return asyncio.run(run())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.toml"
    path.write_text(text(1))
    return path


def test_the_configuration_comes_at_once_and_after_each_change(file: Path) -> None:
    found = follow(file, [lambda: file.write_text(text(2)), lambda: file.write_text(text(3))])
    assert list(map(number, found)) == [1, 2, 3]


def test_a_rename_over_the_file_is_seen(file: Path) -> None:
    def replace() -> None:
        other = file.with_suffix(".new")
        other.write_text(text(2))
        other.replace(file)

    assert list(map(number, follow(file, [replace]))) == [1, 2]


def test_a_swapped_symbolic_link_is_seen(tmp_path: Path) -> None:
    """As a mounted ConfigMap changes: mesh.toml -> ..data/mesh.toml, and ..data is renamed over."""
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        (tmp_path / f"v{version}/mesh.toml").write_text(text(version))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "mesh.toml").symlink_to("..data/mesh.toml")

    def swap() -> None:
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")

    assert list(map(number, follow(tmp_path / "mesh.toml", [swap]))) == [1, 2]


def test_a_change_of_the_same_size_is_seen_even_with_the_old_time(file: Path) -> None:
    stat = file.stat()

    def same_time() -> None:
        other = file.with_suffix(".new")
        other.write_text(text(2))
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(file)

    assert list(map(number, follow(file, [same_time]))) == [1, 2]


def test_a_removed_file_is_an_error_and_comes_back(file: Path) -> None:
    found = follow(file, [file.unlink, lambda: file.write_text(text(2))])
    assert list(map(number, found)) == [1, "error", 2]
    assert isinstance(found[1], ConfigError)
    assert str(file) in str(found[1])
    assert "No such file" in str(found[1])


def test_an_absent_file_is_an_error_first(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    assert list(map(number, follow(path, [lambda: path.write_text(text(1))]))) == ["error", 1]


@pytest.mark.parametrize("content", [b"name = ", b"\xff", b"\0" + b"2", b"colour = 1", b""])
def test_a_wrong_file_is_one_error_and_the_next_good_one_comes(file: Path, content: bytes) -> None:
    found = follow(file, [lambda: file.write_bytes(content), lambda: file.write_text(text(3))])
    assert list(map(number, found)) == [1, "error", 3]


def test_a_file_that_is_written_slowly_is_read_when_it_is_whole(file: Path) -> None:
    async def run() -> list[int | str]:
        stream = FileSource(file, interval=0.1).watch()
        found = [number(await anext(stream))]

        async def write() -> None:
            with file.open("w") as out:
                for letter in text(2):
                    out.write(letter)
                    out.flush()
                    await asyncio.sleep(0.002)

        writing = asyncio.create_task(write())
        found.append(number(await asyncio.wait_for(anext(stream), 5)))
        await writing
        await stream.aclose()
        return found

    assert asyncio.run(run()) == [1, 2]


def test_a_touch_and_equal_content_are_not_yielded(file: Path) -> None:
    async def run() -> int | str:
        stream = FileSource(file, interval=INTERVAL).watch()
        await anext(stream)
        following = asyncio.create_task(anext(stream))
        for _ in range(3):
            os.utime(file)
            file.write_text(text(1))
            await asyncio.sleep(INTERVAL * 4)
        assert not following.done()
        file.write_text(text(2))
        found = number(await asyncio.wait_for(following, 5))
        await stream.aclose()
        return found

    assert asyncio.run(run()) == 2


def test_a_write_right_after_the_first_look_is_not_missed(file: Path) -> None:
    stat = file.stat()

    def in_place_with_the_same_time() -> None:
        file.write_text(text(2))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert list(map(number, follow(file, [in_place_with_the_same_time]))) == [1, 2]
