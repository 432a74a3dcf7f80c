"""Writes what pages repeat from elsewhere, tables and snippets: `python docs/generate.py`.

Tests compare, so that no page can go out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("kernel-support.md")

ROOT = PAGE.parents[1]

_SNIPPET = re.compile(r"(^<!-- (snippet: [^\n]*) -->\n```\w*\n).*?(^```$)", re.DOTALL | re.MULTILINE)
_REGION = re.compile(r"(<!-- generated: (\w+)((?: \w+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """The page with each generated region made anew; everything else as it is."""
    made = {"connect": connect, "hooks": hooks, "features": features, "numbers": numbers}

    def again(match: re.Match[str]) -> str:
        name, arguments = match[2], match[3].split()
        if name in made:
            return f"{match[1]}{made[name]()}{match[4]}"
        if name == "l7":
            import l7_figures

            return f"{match[1]}{l7_figures.section(*arguments)}{match[4]}"
        import parser_tables

        return f"{match[1]}{_table(*parser_tables.table(name, arguments))}{match[4]}"

    return _REGION.sub(again, text)


def with_snippets(text: str) -> str:
    """The page with each snippet copied anew."""
    from documentation import snippet

    return _SNIPPET.sub(lambda match: f"{match[1]}{snippet(match[2])}{match[3]}", text)


def connect() -> str:
    """What the connect tier cannot do without, the newest need first."""
    from ebpfmesh import features as registry
    from ebpfmesh.tiers.connect import needs

    needed = sorted(
        (registry.feature(name) for name in needs.FEATURES), key=lambda one: (_version(one.minimum), one.name)
    )
    rows = [(f"`{one.name}`", one.description, one.minimum, f"`{one.commit}`") for one in reversed(needed)]
    return _table(("feature", "what it is", "minimum kernel", "commit"), rows)


def hooks() -> str:
    """Every hook."""
    from ebpfmesh import hooks as registry

    rows = [
        (
            f"`hooks.{one.name.upper()}`",
            f"`{one.about.sections}`",
            one.minimum,
            f"`{one.about.commit}`",
            ", ".join(one.mechanisms),
            one.fallback,
        )
        for one in registry.every()
    ]
    return _table(("hook", "sections", "minimum kernel", "commit", "mechanisms", "fallback"), rows)


def features() -> str:
    """Every feature that can be probed."""
    from ebpfmesh import features as registry

    rows = [(f"`{one.name}`", one.description, one.minimum, f"`{one.commit}`") for one in registry.every()]
    return _table(("feature", "what it is", "minimum kernel", "commit"), rows)


def numbers() -> str:
    """What was promised, and what was measured, as the last committed run of `make bench` says."""
    bars = json.loads((ROOT / "bench" / "results" / "bars.json").read_text())
    rows = [
        (
            one["name"],
            f"{one['value']:.3g} {one['unit']}".strip(),
            one["bar"],
            "yes" if one["holds"] else "no",
        )
        for one in bars
    ]
    return _table(("measured", "value", "promised", "holds"), rows)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    for page in sorted([*ROOT.glob("*.md"), *PAGE.parent.glob("*.md")]):
        page.write_text(render(with_snippets(page.read_text())))
