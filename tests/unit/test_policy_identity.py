"""Who is who: SPIFFE ids by the specification, cgroups by path, workloads by name, id, labels and cgroup."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.identity import Workload, Workloads, cgroup_path, spiffe
from ebpfmesh.identity.check import problems


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://example.org/a",
        "spiffe://example.org/ns/shop/sa/checkout",
        "spiffe://staging_1.a-b/9eebccd2-12bf-40a6-b262-65fe0487d453",
        "spiffe://e/A.b_c-d/...",
        f"spiffe://{'a' * 255}/x",
        "spiffe://e/" + "x" * (2048 - len("spiffe://e/")),
    ],
)
def test_an_id_of_the_specification_is_taken(text: str) -> None:
    assert spiffe.problem(text) is None
    assert spiffe.pattern_problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with 'spiffe://'"),
        ("https://example.org/a", "does not begin with 'spiffe://'"),
        ("SPIFFE://example.org/a", "does not begin with 'spiffe://'"),
        ("spiffe:/example.org/a", "does not begin with 'spiffe://'"),
        ("spiffe:///a", "trust domain ''"),
        ("spiffe://Example.org/a", "trust domain 'Example.org'"),
        ("spiffe://user@example.org/a", "trust domain 'user@example.org'"),
        ("spiffe://example.org:443/a", "trust domain 'example.org:443'"),
        ("spiffe://ex%61mple.org/a", "trust domain"),
        ("spiffe://example.org", "a workload has a path behind it"),
        ("spiffe://example.org/", 'an empty segment in its path, or "/" at its end'),
        ("spiffe://example.org/a/", 'an empty segment in its path, or "/" at its end'),
        ("spiffe://example.org//a", "an empty segment"),
        ("spiffe://example.org/a/../b", "'..', which is relative"),
        ("spiffe://example.org/./b", "'.', which is relative"),
        ("spiffe://example.org/a%20b", "the segment 'a%20b'"),
        ("spiffe://example.org/a?b", "the segment 'a?b'"),
        ("spiffe://example.org/a#b", "the segment 'a#b'"),
        ("spiffe://example.org/ä", "the segment 'ä'"),
        ("spiffe://example.org/a\n", "the segment 'a\\n'"),
        (f"spiffe://{'a' * 256}/x", "more than 255 bytes"),
        ("spiffe://e/" + "x" * 2038, "longer than 2048 bytes"),
    ],
)
def test_what_is_no_id_is_refused_with_the_reason(text: str, reason: str) -> None:
    found = spiffe.problem(text)
    assert found is not None
    assert reason in found[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spiffe://example.org/ns*", '"*" stands for everything behind a "/"'),
        ("spiffe://example.org/*/x", '"*" stands for'),
        ("spiffe://*.example.org/*", '"*" stands for'),
        ("spiffe://*", "means every trust domain"),
        ("*", '"*" stands for'),
        ("spiffe://Example.org/*", "trust domain 'Example.org'"),
        ("https://example.org/*", "does not begin"),
    ],
)
def test_a_selector_ends_with_a_star_behind_a_slash(text: str, reason: str) -> None:
    found = spiffe.pattern_problem(text)
    assert found is not None
    assert reason in found[0]


def test_a_selector_means_what_is_below_it_and_never_a_part_of_a_name() -> None:
    assert spiffe.matches("spiffe://e/ns/shop/*", "spiffe://e/ns/shop/sa/a")
    assert not spiffe.matches("spiffe://e/ns/shop/*", "spiffe://e/ns/shop-evil/sa/a")
    assert not spiffe.matches("spiffe://e/ns/shop/*", "spiffe://e/ns/shop")
    assert spiffe.matches("spiffe://e/*", "spiffe://e/a")
    assert not spiffe.matches("spiffe://e/*", "spiffe://e.evil/a")
    assert spiffe.matches("spiffe://e/a", "spiffe://e/a")
    assert not spiffe.matches("spiffe://e/a", "spiffe://e/a/b")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("/mesh/a", "/mesh/a"),
        ("/mesh/a/", "/mesh/a"),
        ("//mesh//a/.", "/mesh/a"),
        ("/sys/fs/cgroup/mesh/a", "/mesh/a"),
        ("/sys/fs/cgroup/unified/mesh", "/mesh"),
        ("/sys/fs/cgroups/mesh", "/sys/fs/cgroups/mesh"),
        ("/sys/fs/cgroup", "/"),
        ("/", "/"),
    ],
)
def test_a_cgroup_is_the_same_however_it_is_written(written: str, normal: str) -> None:
    assert cgroup_path.normal(written) == normal
    assert cgroup_path.within(written, "/")
    assert cgroup_path.within(written, normal)


def test_within_is_by_segment() -> None:
    assert cgroup_path.within("/mesh/a/b", "/sys/fs/cgroup/mesh/a")
    assert not cgroup_path.within("/mesh/ab", "/mesh/a")
    assert not cgroup_path.within("/mesh", "/mesh/a")
    assert cgroup_path.upwards("/a/b/c") == ["/a/b/c", "/a/b", "/a", "/"]


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))


@given(named=st.lists(PATHS, unique=True, max_size=5), path=PATHS)
@settings(deadline=None)
def test_who_a_cgroup_is_is_its_deepest_named_ancestor(named: list[str], path: str) -> None:
    workloads = Workloads(Workload(f"w{n}", one) for n, one in enumerate(named))
    around = [one for one in named if (path.rstrip("/") + "/").startswith(one.rstrip("/") + "/")]
    found = workloads.at(path)
    assert (found.cgroup if found else None) == (max(around, key=len) if around else None)


def test_workloads_are_chosen_by_everything_that_is_asked() -> None:
    checkout = Workload("checkout", "/m/c", "spiffe://e/ns/shop/sa/checkout", {"team": "pay", "env": "prod"})
    cart = Workload("cart", "/m/cart", "spiffe://e/ns/shop/sa/cart", {"team": "pay"})
    batch = Workload("batch", "/m/batch", labels={"team": "ops"})
    workloads = Workloads([checkout, cart, batch])
    assert workloads.chosen() == [checkout, cart, batch]
    assert workloads.chosen(name="cart") == [cart]
    assert workloads.chosen(labels={"team": "pay"}) == [checkout, cart]
    assert workloads.chosen(labels={"team": "pay", "env": "prod"}) == [checkout]
    assert workloads.chosen(selector="spiffe://e/ns/*") == [checkout, cart]
    assert workloads.chosen(selector="spiffe://e/ns/*", labels={"env": "prod"}, name="cart") == []
    assert workloads.get("batch") is batch
    assert workloads.get("nobody") is None
    assert len(workloads) == len(list(workloads)) == 3


def said(*workloads: Workload) -> list[str]:
    return [str(one) for one in problems(workloads, "/mesh")]


@pytest.mark.parametrize("name", ["checkout", "a", "Pay_1.v2-x", "x" * 63, "9a"])
def test_a_workload_has_a_name_that_cannot_be_taken_for_another_source(name: str) -> None:
    assert said(Workload(name, "/mesh/x")) == []


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "10.0.0.1", "7", "-a", "a.", "x" * 64, "ä", "a\n", "a b"])
def test_other_names_are_refused(name: str) -> None:
    assert said(Workload(name, "/mesh/x"))[0].startswith(f"$.workloads[0].name: {name!r} is no name of a")


def test_each_problem_of_the_workloads_has_its_path() -> None:
    assert said(
        Workload("a", "/mesh/a"),
        Workload("a", "/mesh/b"),
        Workload("c", "/sys/fs/cgroup/mesh/a/"),
        Workload("d", "/meshed"),
        Workload("e", "mesh/e"),
        Workload("f", "/mesh/f", "spiffe://e"),
        Workload("g", "/mesh/g", labels={"": "x", "team": "\n", "x" * 64: ""}),
        Workload("h", "/mesh"),
        Workload("i", "/mesh" + "/a" * 14),
        Workload("j", "/mesh" + "/a" * 15),
    ) == [
        "$.workloads[1].name: the name 'a' is that of $.workloads[0] already (names are unique in a mesh)",
        "$.workloads[2].cgroup: '/sys/fs/cgroup/mesh/a/' is the cgroup of $.workloads[0] already "
        "(a process is one workload; give each a cgroup of its own)",
        "$.workloads[3].cgroup: '/meshed' is outside of the mesh's cgroup '/mesh', whose processes are its clients "
        '(write one below it, as in "/mesh/d")',
        "$.workloads[4].cgroup: 'mesh/e' is no absolute path (write it below the cgroup v2 mount: \"/mesh/checkout\")",
        "$.workloads[5].spiffe: 'spiffe://e' is the trust domain's own id; a workload has a path behind it "
        '(write "spiffe://example.org/ns/shop/sa/checkout")',
        "$.workloads[6].labels.: '' is no name of a label (at most 63 bytes of printable text)",
        "$.workloads[6].labels.team: '\\n' is no value of a label (at most 63 bytes of printable text)",
        f"$.workloads[6].labels.{'x' * 64}: '{'x' * 64}' is no name of a label (at most 63 bytes of printable text)",
        f"$.workloads[9].cgroup: '/mesh{'/a' * 15}' is 16 levels below the mount, and 15 are looked at (name one above it)",
    ]


def test_in_the_root_cgroup_every_workload_is_inside() -> None:
    assert list(problems([Workload("a", "/a"), Workload("b", "/")], "/")) == []
