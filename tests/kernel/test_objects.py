"""Loading objects: constants, capacities, a part of the programs, globals, test runs; nothing half loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ebpfmesh import objects
from ebpfmesh.errors import (
    ClosedError,
    EbpfMeshError,
    KernelError,
    LoadError,
    MapTypeError,
    NotSupportedError,
    SpecError,
)
from ebpfmesh.layout import U16, U32, U64, Record
from ebpfmesh.objects.program import Program, run_statistics
from ebpfmesh.spec import AttachType, ObjectSpec, ProgramType
from ebpfmesh.testing.compile import compile_bpf
from ebpfmesh.testing.leaks import no_leaks

pytestmark = pytest.mark.kernel
PACKET = bytes(64)

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("license") const char licence[] = "GPL";
"""
SOURCE = (
    HEAD
    + r"""
struct key { __u32 address; __u16 port; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16);
         __type(key, struct key); __type(value, __u64); } flows SEC(".maps");
struct pair { __u16 low; __u64 high; };
const volatile __u32 limit = 3;
const volatile struct pair bounds;
const volatile char label[8];
__u64 seen;
__u32 scale = 2;
SEC("tc") int judge(struct __sk_buff *skb)
{
    struct key key = { .address = 1, .port = bounds.low };
    bpf_map_update_elem(&flows, &key, (const void *)&bounds.high, 0);
    __sync_fetch_and_add(&seen, 1);
    return limit * scale + label[0];
}
SEC("xdp") int drop(struct xdp_md *ctx) { return XDP_DROP; }
SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx) { return 1; }
SEC("?tc") int spare(struct __sk_buff *skb) { return 7; }
"""
)


@pytest.fixture
def spec() -> ObjectSpec:
    """The object above, read offline."""
    return ObjectSpec.from_bytes(compile_bpf(SOURCE), "subject")


class Key(Record):
    address: U32
    port: U16


def test_programs_and_maps_come_loaded_and_typed(spec: ObjectSpec) -> None:
    with objects.load(spec, types={"flows": (Key, U64)}) as loaded:
        assert set(loaded.programs) == {"judge", "drop", "connect4"}
        program = loaded.programs["connect4"]
        assert (program.type, program.attach_type) == (
            ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT)  # fmt: skip
        loaded.programs["judge"].test_run(PACKET)
        assert dict(loaded.maps["flows"].items()) == {Key(1, 0): 0}


def test_constants_are_set_before_the_load_by_their_types(spec: ObjectSpec) -> None:
    constants = {"limit": 50, "bounds": {"low": 443, "high": 1 << 40}, "label": b"A"}
    with objects.load(spec, constants=constants, types={"flows": (Key, U64)}) as loaded:
        assert loaded.programs["judge"].test_run(PACKET).value == 50 * 2 + ord("A")
        assert dict(loaded.maps["flows"].items()) == {Key(1, 443): 1 << 40}
        assert loaded.variables["limit"].get() == 50
        assert loaded.variables["bounds"].get().high == 1 << 40


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"constants": {"limt": 1}}, SpecError, "no constant limt .it has: .*limit"),
        ({"constants": {"scale": 1}}, SpecError, "no constant scale"),
        ({"constants": {"limit": 1 << 32}}, MapTypeError, "variable limit: 4294967296 does not fit u32"),
        ({"constants": {"limit": "3"}}, MapTypeError, "variable limit"),
        ({"constants": {"bounds": {"low": 1}}}, MapTypeError, r"variable bounds\.high"),
        ({"constants": {"label": bytes(9)}}, MapTypeError, "variable label: 9 bytes where 8"),
        ({"max_entries": {"flow": 1}}, SpecError, "no map flow .it has: flows"),
        ({"max_entries": {"flows": 0}}, SpecError, "map flows: max_entries 0"),
        ({"max_entries": {"flows": 1 << 32}}, SpecError, "max_entries 4294967296"),
        ({"programs": ["jugde"]}, SpecError, "no program jugde"),
        ({"types": {"flow": (U32, U64)}}, SpecError, "no map flow"),
        ({"types": {"flows": (U64, U32)}}, MapTypeError, "map flows, key"),
        ({"types": {"flows": (Key, U32)}}, MapTypeError, "map flows, value"),
        ({"reuse": {"flow": 0}}, SpecError, "no map flow"),
        ({"inner_maps": {"flow": 0}}, SpecError, "no map flow"),
    ],
)
def test_a_wrong_request_is_one_error_before_anything_is_loaded(
    spec: ObjectSpec, options: dict[str, object], error: type[EbpfMeshError], text: str
) -> None:
    with pytest.raises(error, match=text):
        objects.load(spec, **options)  # type: ignore[arg-type]


def test_capacities_are_set_at_load(spec: ObjectSpec) -> None:
    with objects.load(spec, max_entries={"flows": 1000}) as loaded:
        assert loaded.maps["flows"].max_entries == loaded.maps["flows"].info().max_entries == 1000


def test_only_the_wanted_programs_are_loaded(spec: ObjectSpec) -> None:
    with objects.load(spec, programs=["drop", "spare"]) as loaded:
        assert set(loaded.programs) == {"drop", "spare"}
        assert loaded.programs["spare"].test_run(PACKET).value == 7
    with objects.load(spec, programs=[]) as loaded:
        assert not loaded.programs and set(loaded.maps) == {"flows"}


def test_globals_are_read_and_written_while_programs_run(spec: ObjectSpec) -> None:
    with objects.load(spec) as loaded:
        judge, variables = loaded.programs["judge"], loaded.variables
        judge.test_run(PACKET, repeat=5)
        assert variables["seen"].get() == 5
        variables["seen"].set(100)
        variables["scale"].set(10)
        assert judge.test_run(PACKET).value == 30
        assert variables["seen"].get() == 101
        with pytest.raises(MapTypeError, match="variable limit: it is constant"):
            variables["limit"].set(1)
        with pytest.raises(MapTypeError, match="variable scale"):
            variables["scale"].set(-1)
    with pytest.raises(ClosedError):
        variables["seen"].get()


def test_a_path_is_loaded_and_a_wrong_one_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "subject.bpf.o"
    path.write_bytes(compile_bpf(SOURCE))
    with objects.load(path, programs=["drop"]) as loaded:
        assert loaded.spec.name == "subject"
    with pytest.raises(SpecError, match="missing"):
        objects.load(tmp_path / "missing.bpf.o")
    path.write_bytes(b"no object")
    with pytest.raises(SpecError, match="subject"):
        objects.load(str(path))


def test_a_name_that_the_kernel_would_cut_is_refused() -> None:
    text = SOURCE.replace("flows", "flows_of_this_host")
    with pytest.raises(SpecError, match=r"map flows_of_this_host: .*18 characters"):
        objects.load(ObjectSpec.from_bytes(compile_bpf(text), "long"))


def test_a_section_without_a_program_type_is_named() -> None:
    text = HEAD + 'SEC("nothing") int strange(void *ctx) { return 0; }'
    with pytest.raises(SpecError, match=r"strange.*nothing|nothing.*strange"):
        objects.load(ObjectSpec.from_bytes(compile_bpf(text), "strange"))


def test_sections_that_an_old_libbpf_does_not_know_load_all_the_same() -> None:
    text = HEAD + 'SEC("tcx/ingress") int pass(struct __sk_buff *skb) { return 3; }'
    with objects.load(ObjectSpec.from_bytes(compile_bpf(text), "tcx")) as loaded:
        assert loaded.programs["pass"].type == ProgramType.SCHED_CLS
        assert loaded.programs["pass"].test_run(PACKET).value == 3


def test_a_map_that_the_kernel_refuses_is_a_load_error_that_names_it() -> None:
    text = HEAD + (
        "struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 4); __uint(key_size, 8);"
        ' __uint(value_size, 4); } trie SEC(".maps");'
    )
    with no_leaks(), pytest.raises(LoadError, match=r"object bad: .*'trie'.*EINVAL"):
        objects.load(ObjectSpec.from_bytes(compile_bpf(text), "bad"))


def test_close_closes_everything_and_twice_is_harmless(spec: ObjectSpec) -> None:
    with no_leaks():
        loaded = objects.load(spec)
        loaded.close()
        loaded.close()
        with pytest.raises(ClosedError, match="program drop"):
            loaded.programs["drop"].test_run(PACKET)
        with pytest.raises(ClosedError, match="map flows"):
            loaded.maps["flows"].count()


def test_the_description_of_a_program_is_the_kernels(spec: ObjectSpec) -> None:
    with objects.load(spec) as loaded:
        program = loaded.programs["judge"]
        info = program.info()
        assert (info.id, info.name, info.type, info.tag) == (
            program.id,
            "judge",
            ProgramType.SCHED_CLS,
            program.tag,
        )
        assert len(info.tag) == 16 and info.instructions > 10 and info.verified_instructions > 10
        assert info.gpl_compatible and info.btf_id > 0


def test_runs_are_counted_while_statistics_are_on(spec: ObjectSpec) -> None:
    with objects.load(spec) as loaded:
        program = loaded.programs["judge"]
        with run_statistics():
            program.test_run(PACKET, repeat=100)
        counted = program.info()
        assert counted.run_cnt == 100 and counted.run_time_ns > 0


def test_test_runs_give_value_packet_and_time(spec: ObjectSpec) -> None:
    text = (
        HEAD
        + r"""
    SEC("xdp") int stamp(struct xdp_md *ctx)
    {
        __u8 *data = (void *)(long)ctx->data;
        if (data + 14 > (__u8 *)(long)ctx->data_end) return XDP_DROP;
        if (bpf_xdp_adjust_tail(ctx, 16)) return XDP_ABORTED;
        data = (void *)(long)ctx->data;
        if (data + 14 > (__u8 *)(long)ctx->data_end) return XDP_DROP;
        data[0] = 0xab;
        return XDP_TX;
    }
    SEC("syscall") int sum(struct { __u32 a, b, total; } *ctx) { ctx->total = ctx->a + ctx->b; return 0; }
    """
    )
    with objects.load(ObjectSpec.from_bytes(compile_bpf(text), "runs")) as loaded:
        run = loaded.programs["stamp"].test_run(PACKET)
        assert run.value == 3 and run.data == b"\xab" + bytes(79) and run.duration_ns > 0
        context = (5).to_bytes(4, "little") + (6).to_bytes(4, "little") + bytes(4)
        assert loaded.programs["sum"].test_run(context=context).context[8:] == b"\x0b\0\0\0"
        with pytest.raises(KernelError, match="EINVAL"):
            loaded.programs["stamp"].test_run(b"")
    with objects.load(spec) as loaded, pytest.raises(NotSupportedError, match="no test run"):
        loaded.programs["connect4"].test_run(PACKET)


def test_a_pinned_program_is_opened_again(spec: ObjectSpec, bpffs: Path) -> None:
    with objects.load(spec) as loaded:
        loaded.programs["drop"].pin(bpffs / "drop")
        number = loaded.programs["drop"].id
    with Program.open_pinned(bpffs / "drop") as again:
        assert (again.id, again.name, again.type) == (number, "drop", ProgramType.XDP)


def test_the_data_sections_have_the_same_names_at_each_load(spec: ObjectSpec) -> None:
    names = []
    for _ in range(2):
        with objects.load(spec) as loaded:
            names.append([section.map.info().name for section in loaded._sections.values()])
    assert names[0] == names[1] and all(name.startswith("subject.") for name in names[0])


def test_without_capabilities_the_error_names_them(spec: ObjectSpec, tmp_path: Path) -> None:
    path = tmp_path / "subject.bpf.o"
    path.write_bytes(spec.data)
    program = (
        "import sys\nfrom ebpfmesh import objects\nfrom ebpfmesh.errors import CapabilityError\n"
        "try:\n    objects.load(sys.argv[1])\nexcept CapabilityError as error:\n    print(error)\n"
    )
    result = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program, str(path)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert (
        "object subject: loading: operation not permitted (needs CAP_BPF, CAP_NET_ADMIN" in result.stdout
    ), result.stderr
