"""Each probe against the version it claims, on the kernel that runs the tests."""

from __future__ import annotations

import errno
import os
import platform
import re
import tomllib
from pathlib import Path

import pytest

from ebpfmesh import features
from ebpfmesh.errors import CapabilityError, KernelError, NotSupportedError
from ebpfmesh.features.feature import Feature, State
from ebpfmesh.features.trial import trial

ABSENT = tomllib.loads((Path(__file__).parents[1] / "kernel_features.toml").read_text()).get("absent", [])
RELEASE = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def expected_absent(name: str) -> bool:
    return any(one["feature"] == name and platform.release().startswith(one["kernel"]) for one in ABSENT)


@pytest.mark.kernel
@pytest.mark.parametrize("feature", features.every(), ids=lambda one: one.name)
def test_a_probe_agrees_with_its_own_minimum_version(feature: Feature):
    expected = version(feature.minimum) <= RELEASE and not expected_absent(feature.name)
    state = features.probe(feature.name)
    assert state.supported is expected, state.reason


def test_every_feature_cites_its_commit_and_version():
    for feature in features.every():
        assert re.fullmatch(r"[0-9a-f]{12,13}", feature.commit), feature.name
        assert re.fullmatch(r"\d+\.\d+", feature.minimum), feature.name
        assert feature.description


def test_every_exception_names_a_feature_and_a_reason():
    for one in ABSENT:
        assert features.feature(one["feature"])
        assert one["reason"]


def test_a_feature_that_is_missing_is_refused_with_the_version_that_has_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "probe", lambda name: State(False, "EINVAL"))
    with pytest.raises(NotSupportedError, match=r"links at sockmaps.*EINVAL.*Linux 6\.10"):
        features.require("sockmap_link")


def test_what_could_not_be_told_is_not_taken_as_supported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "probe", lambda name: State(None, "no capability"))
    assert not features.supported("tcx")
    with pytest.raises(NotSupportedError, match="could not be confirmed"):
        features.require("tcx")


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ValueError, match="ringbuf"):
        features.probe("no such thing")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KernelError("x", errno=errno.EINVAL), False),
        (KernelError("x", errno=524), False),
        (
            KernelError("x", errno=errno.EPERM),
            False,
        ),  # every capability is held, or it were a CapabilityError
        (KernelError("x", errno=errno.ENOMEM), None),
        (CapabilityError("x"), None),
        (OSError(errno.EACCES, "x"), None),
    ],
)
def test_only_a_conclusive_answer_is_a_no(error: Exception, expected: bool | None):
    def attempt() -> None:
        raise error

    assert trial(attempt).supported is expected


@pytest.mark.kernel
def test_a_probe_is_made_once():
    assert features.probe("ringbuf") is features.probe("ringbuf")


@pytest.mark.kernel
def test_probes_leave_no_cgroup_behind(cgroup):
    features.feature("cgroup_link").probe()
    assert not list(cgroup.path.parent.glob(f"ebpfmesh-probe-{os.getpid()}-*"))
