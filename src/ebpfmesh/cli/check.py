"""``ebpfmesh check FILE``: every problem of a configuration file, offline and without privileges.

A field that the model does not know, or of a wrong type, is told alone: nothing else can be said of such a file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.errors import CapacityError, EbpfMeshError

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, the path of the field, the remedy."""

    where: str
    what: str
    remedy: str


class Report(msgspec.Struct, kw_only=True):
    """The whole answer; ``memory`` and ``budget`` in bytes, None if the file is too wrong to tell."""

    file: str
    ok: bool
    problems: list[Problem] = []
    notices: list[str] = []
    services: int = 0
    backends: int = 0
    workloads: int = 0
    rules: int = 0
    limits: int = 0
    memory: int | None = None
    budget: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE and --json."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration, in TOML")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 0 if nothing is wrong, else 1."""
    report = examine(arguments.file)
    if arguments.json:
        from ebpfmesh.cli.output import print_json

        print_json(report)
    else:
        _print(report)
    return 0 if report.ok else 1


def examine(file: Path) -> Report:
    """Read and check ``file``; a file that cannot be read is a problem among others."""
    from ebpfmesh.policy import toml
    from ebpfmesh.policy.check import problems

    try:
        config = toml.read(file)
    except EbpfMeshError as error:
        return Report(file=str(file), ok=False, problems=[_problem(error)])
    found = [_problem(error) for error in problems(config)]
    report = Report(
        file=str(file),
        ok=not found,
        problems=found,
        services=len(config.services),
        backends=sum(len(service.backends) for service in config.services),
        workloads=len(config.workloads),
        rules=sum(len(service.rules) for service in config.services),
        limits=sum(len(service.limits) for service in config.services),
    )
    if report.ok:
        _weigh(config, report)
    return report


def _weigh(config: Config, report: Report) -> None:
    """What balancers cannot give exactly, and memory against the budget."""
    from ebpfmesh.policy.notice import notices
    from ebpfmesh.tiers.connect import memory

    report.notices = [str(notice) for notice in notices(config)]
    report.budget = config.memory_budget_bytes
    try:
        report.memory = memory.check_budget(config)
    except CapacityError as error:
        report.ok = False
        report.problems.append(_problem(error))


def _problem(error: EbpfMeshError) -> Problem:
    return Problem(where=error.where, what=error.what, remedy=error.remedy)


def _print(report: Report) -> None:
    from ebpfmesh.cli.output import plural, size

    for problem in report.problems:
        within = problem.where.startswith(report.file)  # the file itself, or a line of it
        where = problem.where if within else ": ".join(filter(None, (report.file, problem.where)))
        remedy = f" ({problem.remedy})" if problem.remedy else ""
        print(" ".join(f"{where}: {problem.what}{remedy}".split()), file=sys.stderr)
    for notice in report.notices:
        print(f"{report.file}: note: {notice}")
    if report.ok:
        counted = {"workload": report.workloads, "rule": report.rules, "limit": report.limits}
        contents = ", ".join(
            [
                plural(report.services, "service"),
                plural(report.backends, "backend"),
                *(plural(count, noun) for noun, count in counted.items() if count),
            ]
        )
        print(
            f"{report.file}: good; {contents}; at most {size(report.memory or 0)} of kernel memory,"
            f" the budget is {size(report.budget or 0)}"
        )
    else:
        print(f"{report.file}: {plural(len(report.problems), 'problem')}", file=sys.stderr)
