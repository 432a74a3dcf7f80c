"""The entry point: finds the command, runs it, and prints every error of ours as one line."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from ebpfmesh.errors import EbpfMeshError, HostError, VerifierError

COMMANDS = {
    "run": "run the mesh of a configuration file and follow the file",
    "check": "say everything that is wrong with a configuration file, without touching anything",
    "plan": "show what applying a configuration file would change",
    "explain": "say why a request is decided as it is: by a configuration, or as the kernel recorded it",
    "status": "show services, backends and counters, also while the agent is dead",
    "metrics": "print what the kernel counted of requests and connections, for Prometheus",
    "observe": "show the decisions of a mesh as they are made",
    "stop": "stop the agent of a mesh, or remove what a dead one left",
    "cleanup": "remove the pins and records that a dead agent left",
    "doctor": "say what this host can do, each shortage with its remedy",
    "inspect": "show the programs, maps and layouts of a BPF object file",
    "decode": "show what the recorded bytes of a connection are, parsed here or in the kernel",
    "build-parser": "build the core of a protocol of your own, for this machine and for the kernel",
}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # for what is printed
OK, PROBLEM, USAGE, INTERRUPTED = 0, 1, 2, 130

_EPILOGUE = """\
exit status: 0 all is well, 1 a problem was found or the request refused, 2 wrong usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program's name; None: of this process); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with interrupt(signal.SIG_DFL):
            arguments = _parser(words).parse_args(words)
            status: int = _module(arguments.command).run(arguments)
            sys.stdout.flush()
    except EbpfMeshError as error:
        return _failed(error, debug="--debug" in words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `ebpfmesh status | head -1`
        _discard_output()
        return OK
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _discard_output()
        return _failed(HostError(error.strerror or "cannot be written", where="standard output"), debug=False)
    return status


def _discard_output() -> None:
    """What is still to be written goes nowhere: the interpreter would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def interrupt(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Let SIGINT do ``handler`` for the duration.

    By default a command just ends, at once: an exception in the middle of an import can crash extension modules. What
    makes things of its own (`run`, `doctor`) handles the signal as soon as it does.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _failed(error: EbpfMeshError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
        if isinstance(error, VerifierError):
            print(error.log, file=sys.stderr)
    print(f"ebpfmesh: error: {one_line(error)}", file=sys.stderr)
    return PROBLEM


def one_line(error: EbpfMeshError) -> str:
    """The error in one line, whatever a path or a message of the kernel holds."""
    return " ".join(str(error).split())


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that is asked for says what arguments it takes."""
    parser = argparse.ArgumentParser(
        prog="ebpfmesh",
        description="Run, check and look at a service mesh in the kernel.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the versions of ebpfmesh and libbpf"
    )
    _common(parser, top=True)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in words if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        _common(command, top=False)
        command.set_defaults(parser=command)
        if name == asked:
            _module(name).add_arguments(command)
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f"ebpfmesh.cli.{command.replace('-', '_')}")


def _common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Options that are taken before and after the command; after it, absence must not undo what came before it."""
    group = parser.add_argument_group("common options") if not top else parser
    group.add_argument(
        "--debug", action="store_true", default=False if top else argparse.SUPPRESS,
        help="show where an error comes from, and the verifier's whole log",
    )  # fmt: skip
    group.add_argument(
        "--run-root", type=Path, metavar="DIR", help="where locks and records are (/run/ebpfmesh)",
        default=Path("/run/ebpfmesh") if top else argparse.SUPPRESS,
    )  # fmt: skip
    group.add_argument(
        "--bpffs", type=Path, metavar="DIR", help="the mounted bpffs for the pins (found, or mounted by ebpfmesh)",
        default=None if top else argparse.SUPPRESS,
    )  # fmt: skip


class _Version(argparse.Action):
    """Prints the versions; libbpf is loaded only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            ours = version("ebpfmesh")
        except PackageNotFoundError:
            ours = "(not installed)"
        try:
            from ebpfmesh.lowlevel import libbpf

            library = "libbpf {}.{}".format(*libbpf.version())
        except EbpfMeshError as error:
            library = one_line(error)
        print(f"ebpfmesh {ours}, {library}, Python {sys.version.split()[0]}")
        parser.exit()
