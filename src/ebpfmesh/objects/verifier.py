"""Reading the verifier's log: one useful line, and the source line that it is about. Pure text, no kernel."""

from __future__ import annotations

import re
from typing import NamedTuple

# "; x = *p; @ file.c:12" since 6.9 (commit 7cc13adbd057), "; x = *p;" before, with line information
_SOURCE = re.compile(r"^; ?(?P<text>.*?)(?: @ (?P<file>\S+):(?P<line>\d+))?$")
_INSTRUCTION = re.compile(r"^(?P<number>\d+): \([0-9a-f]{2}\) (?P<text>[^;]*)")
# what the log holds beside source and reason: states, their precision, statistics, headings
_NOISE = re.compile(
    r"^(\d+: (\(|R\d|frame|safe|<invalid CO-RE|[.\d]{10} |$)|R\d+(_\w+)?[=(]|frame\d+|from \d+ to \d+"
    r"|processed \d+ insns|verification time|stack depth|peak_states|mark_precise|func#\d+ @\d+|last_idx|first_idx"
    r"|regs=|parent |caller:|callee:|returning from|Validating |Func#\d+ .* is safe|arg#\d+ reference type"
    r"|Global function|BEGIN|END|--|propagating|old:|cur:|old state:|cur state:|live regs before insn|verifier log)"
)


class Refusal(NamedTuple):
    """Why the verifier refused: its ``reason``; ``instruction`` number (-1: none) and text; ``source`` text and place."""

    reason: str
    instruction: int = -1
    instruction_text: str = ""
    source: str = ""
    place: str = ""

    def __str__(self) -> str:
        text = self.reason
        if self.source:
            text += f', at "{self.source}"' + (f" ({self.place})" if self.place else "")
        elif self.instruction >= 0:
            text += f", at instruction {self.instruction}: {self.instruction_text}"
        return text


def refusal(log: str) -> Refusal:
    """Read a verifier's log, whole or cut at its start or end.

    The reason are the last lines that are neither an instruction, a state nor a statistic; the instruction and the source
    line are the last ones before them.
    """
    reasons: list[str] = []
    instruction, source = (-1, ""), ("", "")
    at, found_at = instruction, source
    apart = True  # an instruction or a source line came since the last reason
    for line in (each.strip("\0 \t") for each in log.splitlines()):
        if match := _SOURCE.match(line):
            place = f"{match['file']}:{match['line']}" if match["file"] else ""
            if match["text"].strip():  # an empty one is code of the compiler's own
                source = match["text"].strip(), place
            apart = True
        elif match := _INSTRUCTION.match(line):
            instruction = int(match["number"]), match["text"].strip()
            apart = True
        elif line and not _NOISE.match(line):
            if apart:
                reasons, at, found_at, apart = [], instruction, source, False
            reasons.append(line)
    if not reasons:
        lines = [line.strip() for line in log.splitlines() if line.strip("\0 \t")]
        return Refusal(lines[-1] if lines else "it gave no reason")
    return Refusal(_explained("; ".join(reasons[-3:])), *at, *found_at)


# the verifier's words -> what a programmer of BPF C can do about it
_REMEDIES = (
    (r"invalid access to packet", "compare the pointer with data_end before it"),
    (
        r"invalid mem access 'map_value_or_null'|invalid mem access '.*_or_null'",
        "check the pointer for NULL before it",
    ),
    (
        r"The sequence of \d+ jumps is too complex|BPF program is too large",
        "split the program, or bound its loops",
    ),
    (r"back-edge|infinite loop detected", "give the loop a constant bound"),
    (
        r"unbounded memory access|min value is negative|outside of the allowed memory range",
        "bound the index before it",
    ),
    (
        r"unknown func|program of this type cannot use helper",
        "this helper is not for this program type or kernel",
    ),
    (r"cannot call GPL-restricted function", 'declare the licence "GPL" or "Dual BSD/GPL"'),
    (
        r"failed to resolve CO-RE",
        "this kernel has no such type or field: test it with bpf_core_field_exists()",
    ),
    (r"invalid indirect read from stack|!read_ok", "initialise the variable, padding included"),
)


def _explained(reason: str) -> str:
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, reason):
            return f"{reason}: {remedy}"
    return reason
