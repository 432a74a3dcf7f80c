"""Each error that troubleshooting.md shows, provoked the way it comes about; used by test_docs_session.py."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ebpfmesh import Config, Mesh, Service, errors, get_include, harness, hooks, l7, maps, objects
from ebpfmesh.bpf.compiler import NATIVE_FLAGS, find_compiler
from ebpfmesh.hooks import Anchor
from ebpfmesh.l7 import native
from ebpfmesh.l7.build import build_parser
from ebpfmesh.l7.registry import Registry
from ebpfmesh.layout import U32, U64
from ebpfmesh.ownership import PinDirectory
from ebpfmesh.policy import Rule, toml
from ebpfmesh.policy.check import check
from ebpfmesh.spec import MapType, ObjectSpec
from ebpfmesh.testing import NetNs, PrivateCgroup, compile_bpf


class Place(NamedTuple):
    """Where an error may be provoked."""

    cgroup: PrivateCgroup
    netns: NetNs
    bpffs: Path
    directory: Path

    def mesh(self, *services: Service, cgroup: Path | None = None) -> Mesh:
        """A mesh called shop."""
        config = Config("shop", cgroup=str(cgroup or self.cgroup.path), services=services)
        return Mesh(config, run_root=self.directory / "run", bpffs=self.bpffs)


SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

SEC("cgroup/connect4") int at_connect(struct bpf_sock_addr *ctx)
{
	__u32 key = 0, *count = bpf_map_lookup_elem(&counts, &key);

	BODY
	return 1;
}
SEC("xdp") int at_packet(struct xdp_md *ctx)
{
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""


def _load(body: str = "if (count) *count += 1;") -> objects.Objects:
    return objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE.replace("BODY", body)), name="mine"))


def _configuration(_: Place) -> None:
    toml.loads('name = "shop"\ncgroup = "/shop"\n[[services]]\nname = "web"\nbackend = ["10.0.0.1:8080"]\n')


def _address(_: Place) -> None:
    check(Config("shop", cgroup="/shop", services=[Service("web", addresses=["10.96.0.10"])]))


def _family(_: Place) -> None:
    service = Service("web", addresses=["10.96.0.10:80"], backends=["[fd00::1]:8080"])
    check(Config("shop", cgroup="/shop", services=[service]))


def _spec(place: Place) -> None:
    path = place.directory / "mine.bpf.o"
    path.write_bytes(b"int main(void) { return 0; }\n")
    ObjectSpec.from_file(path)


def _host(place: Place) -> None:
    Mesh(
        Config("shop", cgroup=str(place.cgroup.path)), run_root=place.directory / "run", bpffs=place.directory
    ).start()


def _without_capabilities(_: Place) -> None:
    """In a thread of its own, which gives its capabilities away: as an ordinary user would meet it."""
    _load().close()  # libbpf asks once in a process what the kernel can do: not as nobody, or later programs have no name

    def attempt() -> None:
        # capset(2): header {version 3, this thread}, effective, permitted and inheritable sets of two words, all empty
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0, os.strerror(ctypes.get_errno())
        maps.create(MapType.HASH, key=U32, value=U32, max_entries=2, name="counts").close()

    with ThreadPoolExecutor(1) as other:
        other.submit(attempt).result()


def _anchor(place: Place) -> None:
    with _load() as loaded:
        target = hooks.Interface("lo", place.netns.fd)
        hooks.XDP.attach(loaded.programs["at_packet"], target, anchor=Anchor.first())


def _load_error(_: Place) -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(SOURCE.replace("BODY", "")), name="mine")
    objects.load(spec, max_entries={"counts": 1 << 31})


def _verifier(_: Place) -> None:
    _load("*count += 1;")


def _attach(place: Place) -> None:
    with _load() as loaded:
        hooks.CONNECT4.attach(loaded.programs["at_packet"], place.cgroup.path)


def _occupied(place: Place) -> None:
    with _load() as loaded:
        program = loaded.programs["at_packet"]
        target = hooks.Interface("lo", place.netns.fd)
        with hooks.XDP.attach(program, target):
            hooks.XDP.attach(program, target)


def _full(_: Place) -> None:
    with _load() as loaded:
        for key in range(3):
            loaded.maps["counts"][key] = 0


def _key(_: Place) -> None:
    with _load() as loaded:
        loaded.maps["counts"][7]


def _map(_: Place) -> None:
    with (
        maps.create(MapType.SOCKMAP, key=U32, value=U64, max_entries=2, name="sockets") as sockets,
        socket.socket() as unconnected,
    ):
        sockets[0] = unconnected


def _type(_: Place) -> None:
    with _load() as loaded:
        loaded.maps["counts"][0] = "seven"


def _closed(place: Place) -> None:
    mesh = place.mesh()
    mesh.start()
    mesh.close()
    mesh.status()


def _foreign(place: Place) -> None:
    pins = PinDirectory(place.bpffs, "shop")
    pins.map_path("counts").parent.mkdir(parents=True)
    with maps.create(MapType.ARRAY, key=U32, value=U32, max_entries=2, name="counts") as array:
        array.pin(pins.map_path("counts"))
        try:
            place.mesh().start()
        finally:
            pins.map_path("counts").unlink()


def _held(place: Place) -> None:
    with place.mesh():
        place.mesh().start()


def _layout(place: Place) -> None:
    mesh = place.mesh()
    mesh.start()
    mesh.close(keep=True)
    pins = PinDirectory(place.bpffs, "shop")
    try:
        row = pins._open_layouts().rows()["maps/backends"]
        pins._open_layouts().write("maps/backends", row._replace(hash="ab" * 32))  # as another version would
        place.mesh().start()
    finally:
        pins.close()
        PinDirectory(place.bpffs, "shop").remove()


def _capacity(_: Place) -> None:
    check(toml.loads(
        'name = "shop"\ncgroup = "/shop"\n[capacity]\nbackends = 1\n[[services]]\nname = "web"\n'
        'addresses = ["10.96.0.10:80"]\nbackends = ["10.0.0.1:80", "10.0.0.2:80"]\n'
    ))  # fmt: skip


def _rules(_: Place) -> None:
    rules = [Rule(f"rule-{number}", action="deny", paths=("/admin/**",)) for number in range(33)]
    check(Config("shop", cgroup="/shop", services=[_http(*rules)]))


def _workload(_: Place) -> None:
    check(
        Config("shop", cgroup="/shop", services=[_http(Rule("team", action="allow", sources=("checkout",)))])
    )


def _path(_: Place) -> None:
    check(Config("shop", cgroup="/shop", services=[_http(Rule("dots", action="deny", paths=("/a/../b",)))]))


def _http(*rules: Rule) -> Service:
    return Service("web", addresses=["10.96.0.10:80"], backends=["10.0.0.1:80"], l7="http1", rules=rules)


def _budget(place: Place) -> None:
    Mesh(Config("shop", cgroup=str(place.cgroup.path), memory_budget="4MiB")).start()


def _gone(place: Place) -> None:
    place.mesh(cgroup=place.cgroup.path / "absent").start()


def _root(_: Place) -> None:
    check(Config("shop", cgroup="/"))


def _parse(_: Place) -> None:
    connection = l7.parser("http1").connection()
    head = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.feed(l7.REQUEST, head)


class _Lines(l7.PythonParser):
    """A parser that does not do what its vector says: it forgets the end of the line."""

    name = "lines"
    vectors = (l7.Vector("a line", [(l7.REQUEST, b"one\n")], [l7.End(l7.REQUEST, 4, 0)]),)

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        del direction, end
        return l7.Pass(data.index(b"\n") or 1, ends=True) if b"\n" in data else l7.More()


def _vector(_: Place) -> None:
    l7.run_vectors(_Lines())


def _package(place: Place) -> None:
    """A package that offers a parser whose module is not there."""
    described = place.directory / "mine-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[ebpfmesh.parsers]\nmine = mine_parser:Mine\n")
    sys.path.append(str(place.directory))
    try:
        Registry().parser("mine")
    finally:
        sys.path.remove(str(place.directory))


def _unknown_parser(_: Place) -> None:
    l7.parser("smtp")


def _leniency(_: Place) -> None:
    l7.parser("dns").connection(l7.Config(leniencies=frozenset({"lax"})))


def _no_core(place: Place) -> None:
    text = place.directory / "mine.h"
    text.write_text("#include <ebpfmesh/parser.h>\n")
    build_parser(text, output=place.directory)


def _another_core(place: Place) -> None:
    text = place.directory / "mine.c"
    text.write_text(
        "#include <ebpfmesh/parser.h>\n"
        '__attribute__((visibility("default"))) const struct l7_core l7_core_mine = {\n'
        "\t.size = sizeof(struct l7_core), .window_size = 2048,\n};\n"
    )
    library = place.directory / "mine.so"
    compiler = find_compiler()
    flags = [*NATIVE_FLAGS, f"-I{get_include()}", "-shared"]
    subprocess.run([*compiler.native, *flags, "-o", library, text], check=True, capture_output=True)
    native.load(library, "mine")


def _no_object(_: Place) -> None:
    harness.load("smtp")


MAKERS: dict[str, tuple[type[errors.EbpfMeshError], Callable[[Place], None]]] = {
    "ConfigError, an unknown field": (errors.ConfigError, _configuration),
    "ConfigError, an address": (errors.ConfigError, _address),
    "ConfigError, families": (errors.ConfigError, _family),
    "ConfigError, a cgroup that is gone": (errors.ConfigError, _gone),
    "ConfigError, the root cgroup": (errors.ConfigError, _root),
    "ConfigError, a workload": (errors.ConfigError, _workload),
    "ConfigError, a path": (errors.ConfigError, _path),
    "ConfigError, a parser": (errors.ConfigError, _unknown_parser),
    "ConfigError, a leniency": (errors.ConfigError, _leniency),
    "ParseError": (errors.ParseError, _parse),
    "ParserFaultError, a vector": (errors.ParserFaultError, _vector),
    "ParserFaultError, a package": (errors.ParserFaultError, _package),
    "BuildError": (errors.BuildError, _no_core),
    "SpecError, a core": (errors.SpecError, _another_core),
    "HostError, a core": (errors.HostError, _no_object),
    "SpecError": (errors.SpecError, _spec),
    "HostError": (errors.HostError, _host),
    "CapabilityError": (errors.CapabilityError, _without_capabilities),
    "NotSupportedError": (errors.NotSupportedError, _anchor),
    "LoadError": (errors.LoadError, _load_error),
    "VerifierError": (errors.VerifierError, _verifier),
    "AttachError": (errors.AttachError, _attach),
    "OccupiedError": (errors.OccupiedError, _occupied),
    "MapError": (errors.MapError, _map),
    "MapFullError": (errors.MapFullError, _full),
    "MapKeyError": (errors.MapKeyError, _key),
    "MapTypeError": (errors.MapTypeError, _type),
    "ClosedError": (errors.ClosedError, _closed),
    "OwnershipError": (errors.OwnershipError, _foreign),
    "HeldError": (errors.HeldError, _held),
    "LayoutError": (errors.LayoutError, _layout),
    "CapacityError, a map": (errors.CapacityError, _capacity),
    "CapacityError, rules": (errors.CapacityError, _rules),
    "CapacityError, memory": (errors.CapacityError, _budget),
}
