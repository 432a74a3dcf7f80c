"""``ebpfmesh doctor``: what this host can do, each shortage with its remedy."""

from __future__ import annotations

import argparse
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.tiers.connect import needs
from ebpfmesh.tiers.l7 import needs as l7_needs

if TYPE_CHECKING:
    from ebpfmesh.features import Feature, State

# What the connect tier's programs and their reconciling use; what else is absent is worth knowing, no fault.
CAPABILITIES = {
    "CAP_BPF": "loading programs and maps",
    "CAP_NET_ADMIN": "attaching them",
    "CAP_PERFMON": "programs that read socket fields",
}


class Finding(msgspec.Struct, frozen=True):
    """One line: ``ok``; ``missing`` and ``unknown`` keep a mesh from running; ``absent`` does not."""

    state: Literal["ok", "missing", "unknown", "absent"]
    name: str
    text: str
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        """Whether a mesh may fail to run for it."""
        return self.state in ("missing", "unknown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each finding; 1 if a mesh cannot run here."""
    from ebpfmesh.cli.main import interrupt

    with suppress(EbpfMeshError):  # loads the probes; what is missing for them is found below
        from ebpfmesh import features

        features.every()
    with interrupt(signal.default_int_handler):  # a probe that is interrupted removes its cgroup or namespace
        found = [*_host(arguments.run_root, arguments.bpffs)]
        found += (
            [*_features(), *_behaviour()]
            if not any(finding.blocks for finding in found)
            else [_unprobed(found)]
        )
    ready = not any(finding.blocks for finding in found)
    if arguments.json:
        from ebpfmesh.cli.output import print_json

        print_json({"ready": ready, "findings": found})
        return 0 if ready else 1
    width = max(len(finding.name) for finding in found)
    for finding in found:
        remedy = f"  -> {finding.remedy}" if finding.remedy else ""
        print(f"{finding.state:8}{finding.name:{width}}  {finding.text}{remedy}")
    blocking = [finding.name for finding in found if finding.blocks]
    print("\na mesh can run here" if ready else f"\na mesh cannot run here as it is: {', '.join(blocking)}")
    return 0 if ready else 1


def _host(run_root: Path, bpffs: Path | None) -> Iterator[Finding]:
    yield Finding("ok", "kernel", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield _tried("libbpf", _libbpf)
    yield _tried("programs", _object)
    yield _btf()
    yield _tried("cgroup v2", _cgroup)
    yield from _capabilities()
    yield _tried("bpffs", lambda: _bpffs(run_root, bpffs))
    yield _jit()


def _tried(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EbpfMeshError as error:
        return Finding(
            "missing", name, f"{error.where}: {error.what}" if error.where else error.what, error.remedy
        )


def _libbpf() -> Finding:
    from ebpfmesh.lowlevel import libbpf

    libbpf.lib()
    major, minor = libbpf.version()
    if major < 1:
        return Finding(
            "missing",
            "libbpf",
            f"{major}.{minor} is too old",
            "install libbpf >= 1.0: apt-get install libbpf1",
        )
    return Finding("ok", "libbpf", f"{major}.{minor}")


def _object() -> Finding:
    from ebpfmesh.tiers.connect.tier import object_path
    from ebpfmesh.tiers.l7 import loading

    paths = [
        object_path(),
        *(loading.object_path(name) for name in (loading.FIRST, *loading.PROTOCOLS.values())),
    ]
    for path in paths:
        if not path.is_file():
            return Finding(
                "missing", "programs", f"{path} was not built", "run `make build`, or install the wheel"
            )
    size = sum(path.stat().st_size for path in dict.fromkeys(paths))
    return Finding("ok", "programs", f"{', '.join(dict.fromkeys(path.name for path in paths))}: {size} bytes")


def _btf() -> Finding:
    path = Path("/sys/kernel/btf/vmlinux")
    if not path.exists():
        return Finding(
            "missing", "kernel BTF", f"{path} is absent", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"
        )
    return Finding("ok", "kernel BTF", str(path))


def _cgroup() -> Finding:
    from ebpfmesh.lowlevel.mount import cgroup2_mount

    return Finding("ok", "cgroup v2", str(cgroup2_mount()))


def _capabilities() -> Iterator[Finding]:
    from ebpfmesh.lowlevel.capabilities import missing

    lacking = missing(list(CAPABILITIES))
    for name, use in CAPABILITIES.items():
        if name in lacking:
            yield Finding(
                "missing", name, use, "run as root, or grant it with setcap or systemd's AmbientCapabilities"
            )
        else:
            yield Finding("ok", name, use)


def _bpffs(run_root: Path, asked: Path | None) -> Finding:
    from ebpfmesh.lowlevel.capabilities import missing
    from ebpfmesh.lowlevel.pin import on_bpffs
    from ebpfmesh.ownership import bpffs

    remedy = f"as root: mount -t bpf bpf {asked or bpffs.USUAL}"
    if asked is not None:
        mounted = on_bpffs(asked)
        return (
            Finding("ok", "bpffs", str(asked))
            if mounted
            else Finding("missing", "bpffs", f"not at {asked}", remedy)
        )
    found = bpffs.find(run_root)
    if found is not None:
        return Finding("ok", "bpffs", str(found))
    own = bpffs.own_mount_point(run_root)
    if missing(["CAP_SYS_ADMIN"]):
        return Finding("missing", "bpffs", "not mounted, and mounting it takes CAP_SYS_ADMIN", remedy)
    return Finding("ok", "bpffs", f"not mounted at {bpffs.USUAL}; a mesh mounts its own at {own}")


def _jit() -> Finding:
    try:
        on = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() != "0"
    except OSError:  # absent where the JIT is always on, unreadable without root
        return Finding("ok", "JIT", "always on, or not readable for this user")
    if on:
        return Finding("ok", "JIT", "on")
    return Finding("absent", "JIT", "off: programs are interpreted", "sysctl net.core.bpf_jit_enable=1")


def _features() -> Iterator[Finding]:
    """Each feature by its probe."""
    from ebpfmesh import features

    for feature in features.every():
        yield _feature(feature, features.probe(feature.name))


def _behaviour() -> Iterator[Finding]:
    """What this kernel does with sockets whose requests are judged; a mesh without such services runs whatever it is."""
    from ebpfmesh.tiers.l7 import behaviour

    try:
        found = behaviour.measure()
    except EbpfMeshError as error:
        yield Finding(
            "absent", "L7 behaviour", f"could not be told: {error}", "services with l7 may not be safe here"
        )
        return
    for one in found.outcomes:
        if one.state == "ok":
            yield Finding("ok", f"L7 {one.name}", one.proves)
        else:
            use = (
                f"without it: no {', '.join(one.disables)}"
                if one.disables
                else "programs that rely on it differ"
            )
            said = one.text if one.state == "fails" else f"could not be told: {one.text}"
            yield Finding("absent", f"L7 {one.name}", f"{one.proves}: {said}; {use}", one.remedy)


def _unprobed(found: list[Finding]) -> Finding:
    """One finding for all features where something that every probe needs is missing."""
    lacking = ", ".join(finding.name for finding in found if finding.blocks)
    return Finding(
        "unknown",
        "features",
        f"not probed, for want of {lacking}",
        "doctor again when that is there, as root",
    )


def _feature(feature: Feature, state: State) -> Finding:
    needed, of_l7 = feature.name in needs.FEATURES, feature.name in l7_needs.FEATURES
    name = f"feature {feature.name}"
    if state.supported is True:
        return Finding("ok", name, feature.description)
    use = "needed" if needed else "needed by services with l7" if of_l7 else "not needed by a mesh"
    if state.supported is False:
        remedy = f"Linux {feature.minimum} and later have it, if configured; {use}"
        return Finding(
            "missing" if needed else "absent", name, f"{feature.description}: {state.reason}", remedy
        )
    text = f"{feature.description}: could not be told: {state.reason}; {use}"
    return Finding("unknown" if needed else "absent", name, text)
