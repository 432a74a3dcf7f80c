"""What a wrong program, target, mechanism or anchor is answered with, and what each hook documents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpfmesh import features, hooks
from ebpfmesh.errors import AttachError, HostError, KernelError, NotSupportedError, SpecError
from ebpfmesh.hooks import Anchor, Hook
from ebpfmesh.objects import Objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("cgroup/connect4") int connecting(struct bpf_sock_addr *ctx) { return 1; }
SEC("sockops") int events(struct bpf_sock_ops *ctx) { return 1; }
SEC("tc") int packets(struct __sk_buff *ctx) { return 0; }
SEC("xdp") int frames(struct xdp_md *ctx) { return 2; }
SEC("sk_lookup") int lookups(struct bpf_sk_lookup *ctx) { return 1; }
SEC("cgroup/skb") int either(struct __sk_buff *ctx) { return 1; }
SEC("raw_tp/x") int tracing(void *ctx) { return 0; }
"""


@pytest.fixture
def program(load: Callable[..., Objects]):
    return lambda name: load(SOURCE, programs=[name]).programs[name]


@pytest.mark.kernel
def test_a_program_of_another_type_is_refused_with_both_types(program, cgroup):
    with pytest.raises(AttachError, match=r"SOCK_OPS, the hook takes CGROUP_SOCK_ADDR.*cgroup/connect4"):
        hooks.CONNECT4.attach(program("events"), cgroup)


@pytest.mark.kernel
def test_a_program_of_another_attach_type_is_pointed_to_its_section(program, cgroup):
    with pytest.raises(AttachError, match=r"EINVAL.*sections: cgroup/connect6"):
        hooks.CONNECT6.attach(program("connecting"), cgroup)


@pytest.mark.kernel
def test_a_missing_cgroup_is_named(program, tmp_path):
    with pytest.raises(HostError, match=str(tmp_path / "none")):
        hooks.CONNECT4.attach(program("connecting"), tmp_path / "none")


@pytest.mark.kernel
@pytest.mark.parametrize("mechanism", ["link", "legacy"])
def test_a_directory_that_is_no_cgroup_is_refused(program, tmp_path, mechanism):
    with pytest.raises(AttachError, match=str(tmp_path)):
        hooks.CONNECT4.attach(program("connecting"), tmp_path, mechanism=mechanism)
    with pytest.raises(AttachError, match="cgroup v2"):
        hooks.CONNECT4.attached(tmp_path)


@pytest.mark.kernel
def test_a_missing_interface_is_named(program, netns):
    for hook, name in ((hooks.TC_INGRESS, "packets"), (hooks.XDP, "frames")):
        with pytest.raises(HostError, match="interface nothing"):
            hook.attach(program(name), hooks.Interface("nothing", netns))
        with pytest.raises(HostError, match="interface 4711"):
            hook.attached(hooks.Interface(4711, netns))


@pytest.mark.kernel
def test_what_is_no_network_namespace_is_refused(program, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AttachError):
        hooks.SK_LOOKUP.attach(program("lookups"), tmp_path / "file")
    with pytest.raises(HostError):
        hooks.SK_LOOKUP.attach(program("lookups"), tmp_path / "none")


@pytest.mark.kernel
def test_a_mechanism_that_the_hook_does_not_have_lists_those_it_has(program, cgroup):
    with pytest.raises(NotSupportedError, match="link, legacy"):
        hooks.CONNECT4.attach(program("connecting"), cgroup, mechanism="clsact")


@pytest.mark.kernel
def test_replacing_at_a_hook_of_many_programs_must_say_which(program, cgroup):
    with pytest.raises(NotSupportedError, match=r"Anchor\.replace"):
        hooks.CONNECT4.attach(program("connecting"), cgroup, replace=True)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "anchor", [Anchor.first(), Anchor.last(), Anchor.before(1), Anchor.after(1), Anchor.replace(1)]
)
def test_a_hook_without_an_order_refuses_every_anchor_but_the_default(program, netns, anchor):
    for hook, name, target in (
        (hooks.SK_LOOKUP, "lookups", netns),
        (hooks.XDP, "frames", hooks.Interface("lo", netns)),
    ):
        with pytest.raises(NotSupportedError, match=r"Anchor\.default"):
            hook.attach(program(name), target, anchor=anchor)
        assert hook.attached(target) == []


@pytest.mark.kernel
def test_a_closed_descriptor_is_no_program(cgroup):
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    with pytest.raises(KernelError, match="EBADF"):
        hooks.CONNECT4.attach(fd, cgroup)


@pytest.mark.kernel
@pytest.mark.parametrize("hook", hooks.every(), ids=lambda hook: hook.name)
def test_a_hook_names_a_feature_that_a_probe_finds(hook: Hook):
    assert features.supported(hook.feature)


@pytest.mark.parametrize("hook", hooks.every(), ids=lambda hook: hook.name)
def test_a_hook_documents_its_kernel_capabilities_and_fallback(hook: Hook):
    text = hook.__doc__
    assert text
    for pattern in (
        r"Minimum kernel: \d\.\d+ \(commit [0-9a-f]{12}\)",
        r"CAP_NET_ADMIN",
        r"Fallback: \w",
        r"Sections: \w",
    ):
        assert re.search(pattern, text), pattern


def test_each_name_exported_is_a_hook_of_that_name():
    for hook in hooks.every():
        exported = hook.name.upper()
        assert getattr(hooks, exported) is hook
        assert hooks.by_name(hook.name) is hook
    with pytest.raises(SpecError, match="connect4"):
        hooks.by_name("connect5")


def test_the_section_of_a_program_chooses_its_hook():
    programs = ObjectSpec.from_bytes(compile_bpf(SOURCE), name="test").programs
    assert hooks.for_program(programs["connecting"]) is hooks.CONNECT4
    assert hooks.for_program(programs["events"]) is hooks.SOCKOPS
    assert hooks.for_program(programs["frames"]) is hooks.XDP
    assert hooks.for_program(programs["lookups"]) is hooks.SK_LOOKUP


@pytest.mark.parametrize(
    ("name", "choices"), [("packets", "TC_INGRESS, TC_EGRESS"), ("either", "CGROUP_SKB_INGRESS")]
)
def test_a_section_that_leaves_the_hook_open_lists_the_choices(name: str, choices: str):
    program = ObjectSpec.from_bytes(compile_bpf(SOURCE), name="test").programs[name]
    with pytest.raises(SpecError, match=choices):
        hooks.for_program(program)


def test_a_program_without_a_hook_is_refused():
    program = ObjectSpec.from_bytes(compile_bpf(SOURCE), name="test").programs["tracing"]
    with pytest.raises(SpecError, match="no hook"):
        hooks.for_program(program)


def test_the_kernels_numbers_are_those_of_the_header():
    header = Path("/usr/include/linux/bpf.h")
    if not header.exists():
        pytest.skip("linux-libc-dev is not installed")
    text = header.read_text()
    body = text[text.index("enum bpf_attach_type {") :].split("}")[0]
    names = re.findall(r"^\s*BPF_(\w+)", body, re.MULTILINE)
    for hook in hooks.every():
        name = hook.attach_type.name
        if name in names:  # an older header lacks the newest
            assert names.index(name) == hook.attach_type
