"""A core that breaks the contract does what the driver lets it, in the kernel as natively."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import parcel
import pytest

from ebpfmesh import harness
from ebpfmesh.bpf.compiler import find_compiler
from ebpfmesh.harness import KernelEngine
from ebpfmesh.l7 import native
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Code, Op

pytestmark = pytest.mark.kernel(feature="loop")

HEADER = Path(__file__).parents[1] / "unit/liar.h"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> native.Core:
    directory = tmp_path_factory.mktemp("liar")
    source, target = directory / "liar.c", directory / "liar.so"
    source.write_text(f'#include "{HEADER}"\n')
    command = [*find_compiler().native, "-O2", "-std=gnu11", "-fPIC", "-shared", "-I", str(parcel.INCLUDE)]
    parcel.run(command, source, target)
    return native.load(target, "liar")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("liar")
    source, target = directory / "liar.bpf.c", directory / "liar.bpf.o"
    source.write_text(
        f'#include "{HEADER}"\n#include <ebpfmesh/harness.h>\nL7_HARNESS(liar, struct l7_no_tables)\n'
    )
    compiler = find_compiler()
    command = [*compiler.bpf, "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-I", str(parcel.INCLUDE)]
    parcel.run([*command, *compiler.bpf_includes()], source, target)
    return target


@pytest.fixture
def kernel(built: Path, _leaks_fail: None) -> Iterator[KernelEngine]:
    with harness.load(path=built) as loaded:
        yield loaded


@pytest.mark.parametrize("letter", "esbuUozfha")
def test_a_lie_is_the_same_in_the_kernel_as_natively(kernel, core, letter):
    data = b"..%c." % ord(letter) * 3
    here, there = core.connection(), kernel.connection()
    for direction in (REQUEST, RESPONSE, REQUEST):
        assert there.feed(direction, data) == here.feed(direction, data)
        assert there.position(direction) == here.position(direction)
        assert there.op(direction) == here.op(direction)
        assert there.position(1 - direction) == here.position(1 - direction)


@pytest.mark.parametrize("letter", "esb")
def test_what_a_core_writes_into_its_window_lasts_until_it_returns(kernel, core, letter):
    for connection in (core.connection(), kernel.connection()):
        assert connection.feed(REQUEST, b"..%c." % ord(letter) * 2) == []
        assert (connection.position(REQUEST), connection.position(RESPONSE)) == (8, 0)
        assert connection.op(RESPONSE) == Op.MORE


@pytest.mark.parametrize("letter", "uUo")
def test_a_record_that_cannot_be_believed_tells_only_that(kernel, core, letter):
    for connection in (core.connection(), kernel.connection()):
        [event] = connection.feed(REQUEST, b"..%c." % ord(letter))
        assert (event.op, event.code, event.position) == (Op.ERROR, Code.BAD_CALL, 2)
        assert (event.kind, event.count, event.present, event.text) == (0, 0, 0, b"")
