"""``ebpfmesh plan FILE``: what applying a configuration file would change, without changing it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE and --json."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration, in TOML")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan. Errors: those of the file; HostError if what runs may not be read."""
    from ebpfmesh.cli.configuration import checked
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.ownership import RunDirectory, applied
    from ebpfmesh.policy.plan import diff

    config = checked(arguments.file)
    running = applied.read(RunDirectory(config.name, arguments.run_root))
    plan = diff(running, config)
    if arguments.json:
        print_json(plan)
        return 0
    if running is None:
        print(f"no mesh {config.name} is known here; all of it would be new", file=sys.stderr)
    print(plan)
    return 0
