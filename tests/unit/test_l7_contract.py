"""The contract's three texts say the same: parser.h, its twin in Python, and the page that explains it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tally import build

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError
from ebpfmesh.include import get_include
from ebpfmesh.l7 import contract, native
from ebpfmesh.l7.contain import FORGIVEN_AFTER, Limits
from ebpfmesh.l7.contract import Code, Config, ConfigFlag, Direction, Op, RecordFlag
from ebpfmesh.l7.detect import ENOUGH, PORT, SURE
from ebpfmesh.l7.registry import LONGEST_PREFIX
from ebpfmesh.l7.stepping import HEAD_LIMIT

HEADER = (Path(get_include()) / "ebpfmesh/parser.h").read_text()
DRIVE = (Path(get_include()) / "ebpfmesh/drive.h").read_text()
PAGE = (Path(__file__).parents[2] / "docs/parser-contract.md").read_text()


def enumerators(name: str) -> dict[str, int]:
    """The members of an enum of parser.h."""
    [body] = re.findall(rf"enum {name} \{{(.*?)\}};", HEADER, flags=re.DOTALL)
    found, value = {}, -1
    for member, given in re.findall(
        r"^\s*(?:\{ )?(L7_\w+)(?: = (\d+))?", re.sub(r"/\*.*?\*/", "", body).replace(",", "\n"), flags=re.M
    ):
        value = int(given) if given else value + 1
        found[member] = value
    return found


def members(name: str) -> set[str]:
    """The members of a struct of parser.h."""
    [body] = re.findall(rf"struct {name} \{{(.*?)^\}};", HEADER, flags=re.DOTALL | re.MULTILINE)
    return set(
        re.findall(
            r"^\s*(?:__u\d+|struct \w+|union \w+) (\w+)",
            re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL),
            flags=re.M,
        )
    )


@pytest.mark.parametrize(("name", "twin"), [
    ("l7_direction", Direction), ("l7_op", Op), ("l7_record_flag", RecordFlag), ("l7_config_flag", ConfigFlag),
])  # fmt: skip
def test_enumerations_are_those_of_the_header(name: str, twin: type[Op]) -> None:
    assert {member.removeprefix("L7_"): value for member, value in enumerators(name).items()} == {
        one.name: one.value for one in twin
    }


def test_codes_are_those_of_the_header_and_two_of_python() -> None:
    ours = {f"L7_{code.name}": code.value for code in Code}
    assert {"L7_FAULT": 14, "L7_DISABLED": 15, "L7_OWN_CODES": contract.OWN_CODES} | enumerators(
        "l7_code"
    ) == ours | {"L7_OWN_CODES": 16}


def test_sizes_are_those_of_the_header() -> None:
    defined = {name: int(value) for name, value in re.findall(r"^#define (L7_\w+) (\d+)", HEADER, flags=re.M)}
    assert (defined["L7_WINDOW"], defined["L7_FIELDS"], defined["L7_NAMES"], defined["L7_NAME_LENGTH"]) == (
        contract.WINDOW, contract.FIELDS, contract.NAMES, contract.NAME_LENGTH,
    )  # fmt: skip


def test_the_page_explains_every_number_and_every_member() -> None:
    explained = set(re.findall(r"`([\w.]+)`", PAGE)) | set(re.findall(r"`(l7_\w+)\(", PAGE))
    for name in ("l7_direction", "l7_window_flag", "l7_config_flag", "l7_op", "l7_code", "l7_record_flag"):
        assert set(enumerators(name)) <= explained, name
    for name in ("l7_window", "l7_config", "l7_record"):
        wanted = members(name) - {"reserved", "names", "key", "fields"}
        assert wanted, name
        assert wanted <= explained, name


def test_the_page_has_the_numbers_of_the_code() -> None:
    [idle] = re.findall(r"#define L7_IDLE (\d+)", DRIVE)
    for text in (
        f"up to {contract.WINDOW} bytes of one direction", f"From {ENOUGH} on a parser", f"From {SURE} on it is taken",
        f"adds {PORT} to a confidence", f"(32, at most {LONGEST_PREFIX})", f"{HEAD_LIMIT}\nbytes, and more",
        f"After {Limits().faults} such faults", f"more than {Limits().budget * 1000:g} ms of processor time",
        f"after {Limits().overruns} of",
        f"after {FORGIVEN_AFTER} good calls", f"`FAULT` ({Code.FAULT:d})", f"`DISABLED` ({Code.DISABLED:d})",
        f"`fields` | {contract.FIELDS} values", f"more than {idle} records",
    ):  # fmt: skip
        assert text in PAGE, text


def test_the_page_names_what_the_package_has() -> None:
    for name in re.findall(r"`l7\.(\w+)", PAGE):
        assert name in l7.__all__, name
    for name in l7.__all__:
        assert hasattr(l7, name)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_a_packed_configuration_has_the_size_that_cores_were_built_with(tmp_path: Path) -> None:
    assert (
        len(Config().pack())
        == contract.CONFIG_SIZE
        == native.load(build(tmp_path), "tally")._core.config_size
    )


@pytest.mark.parametrize(("given", "reason"), [
    ({"head_limit": -1}, "head_limit: is -1"),
    ({"text_limit": 1 << 32}, "text_limit: is 4294967296"),
    ({"key": b"short"}, "key: has 5 bytes, not 16"),
    ({"names": tuple(f"x-{n}" for n in range(9))}, "names: at most 8 different"),
    ({"names": ("a", "a")}, "names: at most 8 different"),
    ({"names": "abc"}, "names: is 'abc', not a tuple of names"),
    ({"leniencies": "bare_lf"}, "leniencies: is 'bare_lf', not a set of names"),
    ({"names": ("Host",)}, "names: 'Host' is no header name in lower case"),
    ({"names": ("",)}, "names: '' is no header name"),
    ({"names": ("a b",)}, "names: 'a b' is no header name"),
    ({"names": ("x" * 41,)}, "is no header name in lower case of 1 to 40 characters"),
    ({"names": ("\xe9",)}, "is no header name"),
])  # fmt: skip
def test_a_wrong_configuration_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Config(**given)  # type: ignore[arg-type]


def test_leniencies_become_the_bits_of_the_core() -> None:
    config = Config(leniencies=frozenset({"a", "c"})).resolved({"a": 1, "b": 2, "c": 4})
    assert config.leniency_bits == 5
    assert config.resolved({"a": 1, "c": 4}) is config
    with pytest.raises(ConfigError, match=r"there is no leniency 'c' \(there are: a, b\)"):
        config.resolved({"a": 1, "b": 2})
