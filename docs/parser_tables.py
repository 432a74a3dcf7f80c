"""Tables of the pages about parsers, made from the sources: events and their attributes, codes, what a core costs.

What an attribute or a code means is what stands below it in its class.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
CORES = ROOT / "src/ebpfmesh/bpf/include/ebpfmesh/l7"
Rows = list[tuple[str, ...]]
Table = tuple[tuple[str, ...], Rows]


def parsers() -> Table:
    """Every built-in parser."""
    from ebpfmesh import l7
    from ebpfmesh.l7.registry import BUILT_IN

    costs = tomllib.loads((ROOT / "tests" / "parser_costs.toml").read_text())["parser"]
    rows = []
    for name in BUILT_IN:
        parser: Any = l7.parser(name)
        core = parser.core_name or name
        tables = [_kib(parser.core.tables_size), _kib(_kernel_tables(core))]
        rows.append(
            (
                f"`{name}`",
                _text(inspect.getdoc(type(parser)) or ""),
                ", ".join(parser.transports),
                ", ".join(map(str, parser.ports)),
                f"{max(costs[core].values()):,}",
                "none" if tables == ["0", "0"] else f"{tables[0]} KiB, {tables[1]} KiB",
            )
        )
    return (
        "name",
        "reads",
        "transport",
        "ports",
        "verified instructions",
        "tables, natively and in BPF",
    ), rows


def events(module: str) -> Table:
    """The events that a module of parsers defines."""
    return ("event", "what it is"), [
        (f"`{cls.__name__}`", _text(inspect.getdoc(cls) or "")) for cls in _events(module)
    ]


def attributes(module: str) -> Table:
    """The attributes that these events do not have from another module's."""
    found: dict[str, list[Any]] = {}
    for cls in _events(module):
        for field in msgspec.structs.fields(cls):
            owner = _owner(cls, field.name)
            if owner.__module__ != f"ebpfmesh.l7.{module}" or owner.__name__ == "Event":
                continue
            kind, meaning = _declared(owner, field.name)
            row = found.setdefault(field.name, [[], kind, meaning])
            row[0].append(f"`{cls.__name__}`")
            row[2] = row[2] if meaning in row[2] else f"{row[2]} {meaning}".strip()
    return ("attribute", "of", "type", "meaning"), [
        (f"`{name}`", ", ".join(of), f"`{kind}`", meaning) for name, (of, kind, meaning) in found.items()
    ]


def codes(module: str) -> Table:
    """The codes of a protocol: what ParseError and Undecodable have as ``code`` and ``reason``."""
    cls = import_module(f"ebpfmesh.l7.{module}").Code
    meanings = {name: meaning for name, _, meaning in _body(cls)}
    if module == "contract":  # those of cores stand in the header
        header = (CORES.parent / "parser.h").read_text()
        meanings |= dict(re.findall(r"^\tL7_(\w+) = \d+,\s*/\* (.*?) \*/$", header, re.MULTILINE))
    return ("code", "reason", "meaning"), [
        (str(int(code)), f"`{code.name.lower()}`", _text(meanings[code.name])) for code in cls if code
    ]


def config() -> Table:
    """The fields of `l7.Config` that a user sets."""
    from ebpfmesh.l7 import Config

    rows = []
    for field in msgspec.structs.fields(Config):
        if field.name == "leniency_bits":
            continue
        kind, meaning = _declared(Config, field.name)
        rows.append((f"`{field.name}`", f"`{kind}`", meaning))
    return ("field", "type", "meaning"), rows


def floods() -> Table:
    """How many frames of a kind are reported as a flood of HTTP/2."""
    text = (CORES / "http2" / "flood.h").read_text() + (CORES / "http2" / "frame.h").read_text()
    number = {
        name: int(value)
        for name, value in re.findall(r"^#define HTTP2_(\w+)[\s\\]+(\d+)\b", text, re.MULTILINE)
    }
    among = f"among {number['PERIOD']} frames of its direction"
    return ("frames", "reported at", ""), [
        ("RST_STREAM (rapid reset)", str(number["RESETS"]), among),
        ("SETTINGS", str(number["SETTINGS_FRAMES"]), among),
        ("DATA, HEADERS, CONTINUATION that are empty and end nothing", str(number["EMPTY"]), among),
        ("PRIORITY", str(number["PRIORITIES"]), among),
        (
            "PING",
            f"{number['PINGS']}, and each {number['PINGS']} more",
            "that the other side has not answered",
        ),
        (
            "CONTINUATION",
            str(number["CONTINUATIONS"] + 1),
            "of one header block; the connection is then undecodable",
        ),
    ]


# --- reading the sources ----------------------------------------------------------------------------------------------


def _events(name: str) -> list[type]:
    """The events of a module, in its order; not those that are there to be derived from."""
    from ebpfmesh.l7.events import Event

    module = import_module(f"ebpfmesh.l7.{name}")
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and value.__module__ == module.__name__
    ]
    return [cls for cls in own if not cls.__subclasses__() or _is_told(cls, name)]


def _is_told(cls: type, name: str) -> bool:
    """Whether a class that others derive from is an event itself."""
    if name == "http":
        return cls.__name__ != "Message"
    return cls.__module__ == "ebpfmesh.l7.events" and cls.__name__ != "Event"


def _owner(cls: type, attribute: str) -> type:
    """The class that declares an attribute."""
    for base in cls.__mro__:
        if attribute in vars(base).get("__annotations__", {}):
            return base
    raise AssertionError(f"{cls.__name__} declares no {attribute}")


def _declared(owner: type, attribute: str) -> tuple[str, str]:
    """The type and the meaning of an attribute, as its class says."""
    [found] = [(kind, _text(meaning)) for name, kind, meaning in _body(owner) if name == attribute]
    return found


def _body(cls: type) -> Iterator[tuple[str, str, str]]:
    """(name, type, what stands below it) for each attribute that a class declares itself."""
    tree = ast.parse(Path(inspect.getfile(cls)).read_text())
    [node] = [one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == cls.__name__]
    for one, below in zip(node.body, [*node.body[1:], None], strict=True):
        meaning = ""
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            meaning = str(below.value.value)
        if isinstance(one, ast.AnnAssign):
            yield ast.unparse(one.target), ast.unparse(one.annotation), meaning
        elif isinstance(one, ast.Assign):
            yield ast.unparse(one.targets[0]), "", meaning


def _text(docstring: str) -> str:
    """A docstring in one line of Markdown."""
    return " ".join(docstring.replace("``", "`").split())


def _kernel_tables(core: str) -> int:
    from ebpfmesh.harness.objects import builtin_path
    from ebpfmesh.spec import ObjectSpec

    size = ObjectSpec.from_file(builtin_path(core)).maps["l7_tables"].value_size
    return 0 if size <= 8 else int(size)  # struct l7_no_tables


def _kib(size: int) -> str:
    return f"{size / 1024:.0f}"


TABLES = {
    "parsers": parsers,
    "events": events,
    "attributes": attributes,
    "codes": codes,
    "config": config,
    "floods": floods,
}


def table(name: str, arguments: Sequence[str]) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    """The header and the rows of a table."""
    return TABLES[name](*arguments)  # type: ignore[operator, no-any-return]
