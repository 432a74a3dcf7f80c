"""An upgrade while requests run: agents of two versions take over from each other, and no request fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from l7_http2_site import Http2Site

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Service
from ebpfmesh.policy.rule import Rule
from ebpfmesh.testing import compile_bpf, eventually
from ebpfmesh.tiers.l7 import loading

pytestmark = [pytest.mark.kernel("sockhash"), pytest.mark.timeout(240)]
SITE = Http2Site

NO_ADMIN = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
OLD = ("10.96.0.11", 80)
MARKER = "mark = bpf_sk_storage_get(&l7_marks, socket, 0, 0);\n\tif (!mark)\n\t\treturn SK_DROP;\n"
COUNTER = "undecodable_escalated"  # which nothing counts: so it can tell the other version's runs
SWAPS = 3


def another(name: str, directory: Path) -> Path:
    """The programs of a protocol in another version, which counts its runs."""
    source = (loading.object_path("l7").parent / f"{name}.bpf.c").read_text()
    assert MARKER in source
    text = source.replace(MARKER, f"{MARKER}\tl7_stat(mark->service, L7_STAT_{COUNTER.upper()}, 1);\n", 1)
    path = directory / f"{name}.bpf.o"
    path.write_bytes(compile_bpf(text))
    return path


class Load:
    """One who asks without a pause, on one connection: what it saw, and what went wrong."""

    def __init__(self, ask: Callable[[str], int]) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.errors: list[BaseException] = []
        self._ask, self._stop = ask, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.pairs.append((self._ask("/admin/x"), self._ask("/shop")))
            except Exception as error:
                self.errors.append(error)
                return

    def end(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_versions_take_over_under_load_and_no_request_fails(
    site: Http2Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {name: another(name, tmp_path) for name in ("l7_http1", "l7_http2")}
    path_of = loading.object_path

    def services() -> tuple[Service, ...]:
        return site.http2("new", rules=NO_ADMIN), site.http("old", "10.96.0.11:80", rules=NO_ADMIN)

    def start(other: bool) -> Mesh:
        monkeypatch.setattr(
            loading, "object_path", lambda name: others.get(name, path_of(name)) if other else path_of(name)
        )
        return site.start(*services())

    def runs(mesh: Mesh) -> dict[str, int]:
        found = mesh.status().l7
        assert found is not None
        return {one.name: one.counters.get(COUNTER, 0) for one in found.services}

    def more(loads: list[Load], count: int = 15) -> None:
        wanted = [len(load.pairs) + count for load in loads]
        assert eventually(
            lambda: all(
                len(load.pairs) >= number or load.errors for load, number in zip(loads, wanted, strict=True)
            ),
            timeout=30,
        )

    agent = site.agent(*services())
    loads: list[Load] = []
    with ExitStack() as ends:
        for _ in range(3):
            one, client = site.connect(OLD), site.client()
            loads.append(Load(lambda path, one=one: site.get(one, path).status))  # type: ignore[misc]
            loads.append(Load(lambda path, client=client: client.get(path).status))  # type: ignore[misc]
        for load in loads:
            ends.callback(load.end)
        more(loads)
        agent.kill()  # the first version dies, the others hand over
        for swap in range(SWAPS):
            mesh = start(other=swap % 2 == 0)
            before = runs(mesh)
            more(loads)
            after = runs(mesh)
            for name in ("old", "new"):
                assert (after[name] > before[name]) == (swap % 2 == 0), (swap, name)
            if swap < SWAPS - 1:
                mesh.close(keep=True)
                time.sleep(0.05)
    assert [load.errors for load in loads] == [[]] * len(loads)
    assert {pair for load in loads for pair in load.pairs} == {(403, 200)}
    found = mesh.status().l7
    assert found is not None
    asked = sum(2 * len(load.pairs) for load in loads)
    assert sum(one.requests for one in found.services) == asked, "each was judged, by one version"
    assert sum(one.denied for one in found.services) == asked // 2
    assert not site.h2.errors
