"""What each parser core costs the verifier: measured here, and as committed in parser_costs.toml.

sudo .venv/bin/python tests/parser_costs.py           # measure, compare
sudo .venv/bin/python tests/parser_costs.py --write   # and write the file anew
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("parser_costs.toml")
LIMIT = 200_000
TOLERANCE = 0.03  # a point release of the compiler or the kernel moves a figure a little

HEAD = """\
# How many instructions the verifier walked for each parser core (bpf_prog_info.verified_insns), by the type of its program:
# tc is the harness that is fed by hand, sk_msg and sk_skb are the programs of sockets. The harness itself is some 3,000 of
# each. No figure may exceed {limit:,}, on any kernel. On the kernel and with the compiler named here none may exceed what
# is committed by more than {tolerance:.0%}; one that fell by more than that is committed anew. Where a figure is meant to
# grow, say why in the commit:
#
#     sudo .venv/bin/python tests/parser_costs.py --write

"""

Costs = dict[str, dict[str, int]]


def machine() -> dict[str, str]:
    """What figures depend on, beside the cores: the kernel's minor version, the compiler's major one."""
    from ebpfmesh.bpf.compiler import find_compiler

    kernel = ".".join(platform.release().split(".")[:2])
    version = re.search(r"(\w+) version (\d+)", find_compiler().version)
    return {
        "kernel": kernel,
        "compiler": f"{version[1]} {version[2]}" if version else find_compiler().version,
    }


def measured() -> Costs:
    """The cost of every built-in core, loaded now. Errors: VerifierError, CapabilityError."""
    from ebpfmesh import harness
    from ebpfmesh.harness.objects import builtins

    costs = {}
    for name in builtins():
        with harness.load(name, sockets=True) as engine:
            costs[name] = engine.cost()
    return costs


def committed() -> tuple[dict[str, str], Costs]:
    """The machine and the figures of the file."""
    document = tomllib.loads(FILE.read_text())
    return document["measured_with"], document["parser"]


def differences(now: Costs, then: Costs, *, same_machine: bool) -> list[str]:
    """What is wrong with ``now``, a line each; ``then`` is what was committed, on the same machine or another one."""
    found = []
    for name in sorted(now.keys() | then.keys()):
        if name not in now or name not in then:
            found.append(
                f"{name}: {'is not built in any more' if name in then else 'has no committed figure'}"
            )
            continue
        for kind, cost in now[name].items():
            before = then[name].get(kind, 0)
            if cost > LIMIT:
                found.append(f"{name} {kind}: {cost:,} instructions exceed the limit of {LIMIT:,}")
            elif same_machine and cost > before * (1 + TOLERANCE):
                found.append(f"{name} {kind}: {cost:,} instructions, {before:,} are committed")
            elif same_machine and cost < before * (1 - TOLERANCE):
                found.append(
                    f"{name} {kind}: {cost:,} instructions, less than the committed {before:,}: keep it"
                )
    return found


def text(now: Costs, machine: Mapping[str, str]) -> str:
    """The file, with these figures."""
    lines = [HEAD.format(limit=LIMIT, tolerance=TOLERANCE), "[measured_with]"]
    lines += [f'{key} = "{value}"' for key, value in machine.items()]
    for name, costs in sorted(now.items()):
        lines += ["", f"[parser.{name}]", *(f"{kind} = {cost}" for kind, cost in costs.items())]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="what each parser core costs the verifier")
    parser.add_argument("--write", action="store_true", help="write parser_costs.toml anew")
    options = parser.parse_args()
    now = measured()
    for name, costs in now.items():
        print(f"{name:12}", *(f"{kind} {cost:>9,}" for kind, cost in costs.items()))
    if options.write:
        FILE.write_text(text(now, machine()))
        return 0
    there, then = committed()
    found = differences(now, then, same_machine=there == machine())
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    sys.exit(main())
