"""One plain style for every picture: horizontal bars, the value written beside each, the baseline in grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import machine
from bench.result import Scenario

_PEERS = ("nginx", "haproxy", "envoy", "httptools", "h11", "h2", "nghttp2", "hpack")
_OURS, _OTHERS, _BASELINE, _INK, _FAINT = "#1f6f8b", "#c9a66b", "#8c8c8c", "#222222", "#dddddd"


def save(scenario: Scenario, result: dict[str, Any], directory: Path) -> Path | None:
    """Draw `result` into DIRECTORY/NAME.png; None if the scenario has no picture. Needs matplotlib."""
    if scenario.draw is None:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(
        {"font.size": 11, "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _FAINT}
    ):
        figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
        scenario.draw(axes, result["data"])
        axes.set_title(scenario.title, loc="left", fontsize=14, pad=12)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="x", color=_FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        figure.supxlabel(machine.line(result["machine"]), fontsize=8, color=_BASELINE)
        path = directory / f"{scenario.name}.png"
        figure.savefig(path, dpi=120, metadata={"Software": None})
        plt.close(figure)
    return path


def comparison(axes: Any, data: dict[str, Any]) -> None:
    """Ratios to direct, each with its quartiles; requests per second and p99 in words."""
    variants = data["variants"]
    spreads = {name: one["ratio_to_direct"] for name, one in variants.items()}
    notes = {
        name: f"{one['requests_per_second']['median'] / 1e3:.1f} k/s, p99 {one['p99_us']['median'] / 1e3:.2f} ms"
        for name, one in variants.items()
    }
    bars(axes, spreads, "requests per second, ratio to direct in the same round (higher is better)", notes)
    axes.axvline(1.0, color=_BASELINE, linewidth=1.2, linestyle="--")


def bars(
    axes: Any,
    spreads: dict[str, dict[str, float]],
    label: str,
    notes: dict[str, str] | None = None,
    *,
    logarithmic: bool = False,
) -> None:
    """A bar to each median, a line from the first to the third quartile, the number and a note to the right of it.

    ``logarithmic``: for values of different orders; and the label says it.
    """
    names = list(spreads)
    positions = range(len(names))
    medians = [spreads[name]["median"] for name in names]
    errors = [
        [max(0.0, spreads[name]["median"] - spreads[name]["quartile1"]) for name in names],
        [max(0.0, spreads[name]["quartile3"] - spreads[name]["median"]) for name in names],
    ]
    axes.barh(positions, medians, height=0.6, color=[_colour(name) for name in names])
    axes.errorbar(medians, positions, xerr=errors, fmt="none", ecolor=_INK, elinewidth=1.2, capsize=3)
    widest = max(spreads[name]["quartile3"] for name in names)
    for position, name in zip(positions, names, strict=True):
        note = f"  {notes[name]}" if notes and name in notes else ""
        end = max(spreads[name]["median"], spreads[name]["quartile3"])
        place = end * 1.08 if logarithmic else end + 0.015 * widest
        axes.text(place, position, f"{_number(spreads[name]['median'])}{note}", va="center")
    axes.set_yticks(positions, names)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 3, widest * 3)
    else:
        axes.set_xlim(0, widest * (1.45 if notes else 1.18))
    axes.set_xlabel(f"{label}, logarithmic" if logarithmic else label)


def groups(axes: Any, spreads: dict[str, dict[str, dict[str, float]]], label: str) -> None:
    """As `bars`, where each name has several bars, of the same variants everywhere: a colour to each variant."""
    variants = list(next(iter(spreads.values())))
    height = 0.8 / len(variants)
    widest = max(one["quartile3"] for group in spreads.values() for one in group.values())
    for number, (variant, colour) in enumerate(zip(variants, (_OURS, _OTHERS, _BASELINE), strict=False)):
        places = [position + (number + 0.5) * height - 0.4 for position in range(len(spreads))]
        medians = [group[variant]["median"] for group in spreads.values()]
        axes.barh(places, medians, height=0.9 * height, color=colour, label=variant)
        for place, median in zip(places, medians, strict=True):
            axes.text(median + 0.015 * widest, place, _number(median), va="center", fontsize=9)
    axes.set_yticks(range(len(spreads)), list(spreads))
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.18)
    axes.set_xlabel(label)
    axes.legend(frameon=False, loc="lower right")


def _colour(name: str) -> str:
    if name.startswith(("direct", "bare", "no programs")):
        return _BASELINE
    return _OTHERS if name.startswith(_PEERS) else _OURS


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2f}"
