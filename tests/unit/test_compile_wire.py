"""The compiler's layouts and numbers against the headers, by static assertions that clang checks."""

from __future__ import annotations

import re
import shutil
from enum import IntEnum
from struct import Struct

import pytest

from ebpfmesh.errors import HostError
from ebpfmesh.policy import wire
from ebpfmesh.policy.reference import Reason
from ebpfmesh.testing import compile_bpf

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing")

STRUCTS: dict[str, tuple[Struct, list[str]]] = {
    "l7_service": (
        wire.SERVICE,
        ["digest", "flags", "protocol", "undecodable", "sample", "rules", "policy", "config", "insert", "refusal",
         "bad_path", "undecodable_reply", "identities"],
    ),
    "l7_source_key": (wire.SOURCE_KEY, ["rules", "workload", "address", "port"]),
    "l7_address_key": (wire.ADDRESS_KEY, ["prefix", "rules", "address"]),
    "l7_policy": (wire.POLICY, ["root", "list", "flags"]),
    "l7_path_key": (wire.PATH_KEY, ["policy", "length", "hash"]),
    "l7_segment_key": (wire.SEGMENT_KEY, ["state", "length", "hash"]),
    "l7_path_state": (wire.PATH_STATE, ["other", "here", "deeper", "leaf"]),
    "l7_list": (wire.LIST, ["count", "rules"]),
    "l7_rule": (wire.RULE, ["action", "flags", "methods", "number", "reply", "argument", "conditions"]),
    "l7_condition": (wire.CONDITION, ["field", "op", "flags", "length", "text"]),
    "l7_limit": (wire.LIMIT, ["interval", "burst", "key", "field", "flags", "number"]),
}  # fmt: skip
ENUMS: dict[str, type[IntEnum]] = {
    "L7_{}": wire.Action,
    "L7_{} ": wire.Op,
    "L7_PER_{}": wire.LimitKey,
    "L7_{}  ": wire.ConditionFlag,  # type: ignore[dict-item]
}
NUMBERS = {
    "L7_RULES": wire.RULES_IN_LIST,
    "L7_CONDITIONS": wire.CONDITIONS,
    "L7_CONDITION_TEXT": wire.CONDITION_TEXT,
    "L7_RULE_OPEN": wire.RULE_OPEN,
    "L7_POLICY_EXACT": wire.POLICY_EXACT,
    "HTTP_REGISTERED": wire.REGISTERED,
    "L7_SEGMENTS": 16,
    "L7_OPAQUE": wire.Protocol.OPAQUE,
    "L7_HTTP1": wire.Protocol.HTTP1,
    "L7_HTTP2": wire.Protocol.HTTP2,
    "L7_REFUSE": 0,
    "L7_PASS_OPAQUE": 1,
    "L7_TO_PROXY": 2,
    "L7_OTHER_METHOD": wire.Method.OTHER,
    **{f"L7_{method.name}": method for method in wire.Method if method is not wire.Method.OTHER},
    **{f"L7_{flag.name}": flag for flag in wire.ServiceFlag if flag is not wire.ServiceFlag.PRESENT},
    "L7_SERVICE_PRESENT": wire.ServiceFlag.PRESENT,
    **{f"L7_{reason.name}": reason for reason in Reason},
    **{f"HTTP_{one.name}": one for one in wire.Field if not one.name.startswith("GRPC")},
    **{one.name: one for one in wire.Field if one.name.startswith("GRPC")},
    **{pattern.strip().format(one.name): one for pattern, kind in ENUMS.items() for one in kind},
}


def asserted(lines: list[str]) -> None:
    """Compile static assertions; HostError names the one that fails."""
    includes = ("limit/limit.h", "authorise/decision.h", "l7/http.h")
    compile_bpf("\n".join([*(f'#include "ebpfmesh/{name}"' for name in includes), *lines]))


def places(packer: Struct) -> list[int]:
    """The offset of each value; those of one run of numbers count once."""
    found, offset = [], 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", packer.format):
        run = code in {"s", "x"} or (code == "I" and int(count or 1) in (wire.RULES_IN_LIST, wire.CONDITIONS))
        size, number = Struct(f"={code}").size, 1 if run else int(count or 1)
        found += [offset + index * size for index in range(number) if code != "x"]
        offset += Struct(f"={count}{code}").size
    return found


@pytest.mark.parametrize("name", STRUCTS)
def test_a_format_has_the_fields_of_its_struct_at_their_places(name: str) -> None:
    packer, fields = STRUCTS[name]
    at = dict(zip(fields, places(packer), strict=True))
    offset = f'_Static_assert(__builtin_offsetof(struct {name}, {{0}}) == {{1}}, "{{0}}");'
    size = f'_Static_assert(sizeof(struct {name}) == {packer.size}, "size");'
    asserted([size, *(offset.format(*place) for place in at.items())])


def test_the_numbers_are_those_of_the_headers() -> None:
    asserted([f'_Static_assert({name} == {int(number)}, "{name}");' for name, number in NUMBERS.items()])
    with pytest.raises(HostError, match="L7_RULES"):
        asserted(['_Static_assert(L7_RULES == 33, "L7_RULES");'])
