"""Where the C headers are that a program or a parser core of somebody else includes."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_include"]


def get_include() -> str:
    """The directory for a compiler's ``-I``: it holds ``ebpfmesh/parser.h`` and everything beside it.

    It is the same in an installed wheel and in a source tree. To compile against the headers, libbpf's are needed for BPF
    (libbpf-dev), and nothing else natively.
    """
    return str(Path(__file__).parent / "bpf" / "include")
