"""Parsers by name: registered, installed, refused, disabled, broken; and the vectors that prove a library."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tally import HEADER, PythonTally, Tally, build

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError, ParserFaultError
from ebpfmesh.l7 import REQUEST, End, Undecodable, Vector, run_vectors
from ebpfmesh.l7.contain import Limits
from ebpfmesh.l7.registry import BUILT_IN, GROUP, Registry
from ebpfmesh.l7.vectors import LONGEST, splits

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nothing_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPFMESH_PARSERS_DISABLED", raising=False)
    monkeypatch.delenv("EBPFMESH_DISABLE_PLUGINS", raising=False)


@pytest.fixture
def registry() -> Registry:
    return Registry(Limits(faults=2))


def statuses(registry: Registry) -> dict[str, l7.Status]:
    return {status.name: status for status in registry.parsers()}


# --- the built-in ones ------------------------------------------------------------------------------------------------


def test_built_in_parsers_are_entry_points_like_everybodys() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_parser_is_there_and_does_what_its_vectors_say(name: str, registry: Registry) -> None:
    parser = registry.parser(name)
    assert parser.name == name
    assert parser.vectors, "a parser without vectors"
    assert run_vectors(parser) >= (3 if "tcp" in parser.transports else 1) * len(parser.vectors)
    assert statuses(registry)[name].state == "ready"
    assert statuses(registry)[name].origin == "built in"


def test_the_library_has_one_registry() -> None:
    assert set(BUILT_IN) <= {status.name for status in l7.parsers()}
    with pytest.raises(ConfigError, match=r"there is no parser 'http' \(there are: .*http1, http2"):
        l7.parser("http")


# --- registering ------------------------------------------------------------------------------------------------------


def test_what_a_parser_does_while_it_loads_holds_up_nobody_else(registry: Registry) -> None:
    class Slow(PythonTally):
        """A module that is imported in one thread may be registering what another asks for."""

        def __init__(self) -> None:
            super().__init__()
            other = threading.Thread(target=registry.parsers, daemon=True)
            other.start()
            other.join(10)
            self.waited = other.is_alive()

    registry.register(Slow)
    assert not registry.parser("python-tally").waited  # type: ignore[attr-defined]


def test_a_registered_class_is_found_by_its_name(registry: Registry) -> None:
    assert registry.register(PythonTally) is PythonTally
    assert "python-tally" in registry.names()
    assert statuses(registry)["python-tally"].state == "not loaded"
    parser = registry.parser("python-tally")
    assert type(parser) is PythonTally
    assert registry.parser("python-tally") is parser
    status = statuses(registry)["python-tally"]
    assert (status.state, status.origin, status.transports) == (
        "ready",
        "registered by tally:PythonTally",
        ("tcp",),
    )
    assert status.calls == 0
    parser.connection().feed(REQUEST, b"M\0\0")
    assert statuses(registry)["python-tally"].calls == 1


def test_a_module_can_be_reloaded(registry: Registry) -> None:
    registry.register(PythonTally)
    again = type("PythonTally", (PythonTally,), {"__module__": "tally", "__qualname__": "PythonTally"})
    registry.register(again)
    assert type(registry.parser("python-tally")) is again


def like(**changed: Any) -> type[PythonTally]:
    return type("Changed", (PythonTally,), changed)


@pytest.mark.parametrize(("cls", "reason"), [
    (like(name=""), "its name is ''"),
    (like(name="Redis"), "its name is 'Redis', not lower-case"),
    (like(name=None), "its name is None"),
    (like(name="third-party"), "its name is 'third-party'"),
    (like(name="a,b"), "its name is 'a,b'"),
    (l7.PythonParser, "its name is None"),
    (type("Lacks", (l7.PythonParser,), {"name": "lacks"}), r"it lacks parse\(\)"),
    (like(priority="high"), "its priority is a number"),
    (like(prefix=0), "its prefix 1 to 1024"),
    (like(prefix=1025), "its prefix 1 to 1024"),
    (like(transports=("sctp",)), "its transports are"),
    (like(transports=()), "its transports are"),
    (object, "is no class of parsers"),
    (PythonTally(), "is no class of parsers"),
    (like(name="redis"), "'redis': the name is taken: built in"),
])  # fmt: skip
def test_what_is_no_parser_is_refused(cls: Any, reason: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=reason):
        registry.register(cls)
    assert set(registry.names()) >= set(BUILT_IN)


def test_a_name_that_is_taken_is_refused(registry: Registry) -> None:
    registry.register(PythonTally)
    with pytest.raises(ConfigError, match="the name is taken: registered by tally:PythonTally"):
        registry.register(like())


def test_a_script_is_the_module_of_its_file(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An installed parser's file, run as a script, does not compete with itself."""
    registry.register(like(__module__="acme"))
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "acme.py"))
    registry.register(like(__module__="__main__"))
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "other.py"))
    with pytest.raises(ConfigError, match="the name is taken"):
        registry.register(like(__module__="__main__"))


# --- packages ---------------------------------------------------------------------------------------------------------

Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Installs a distribution: its name, its module's text, its entry points."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    made: list[str] = []

    def install(name: str, text: str, **points: str) -> None:
        module = name.replace("-", "_")
        made.append(module)
        (place / f"{module}.py").write_text(text)
        info = place / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{point} = {module}:{value}" for point, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
        # what is installed is looked up once for a sys.path: another one, then
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / f"none-{name}")])

    yield install
    for module in made:
        sys.modules.pop(module, None)


ECHO = """
from ebpfmesh import l7

class Echo(l7.PythonParser):
    name = "acme-echo"
    priority = 7
    ports = (7,)

    def parse(self, direction, data, end):
        return l7.Pass(len(data), ends=bool(data)) if data else l7.More()

class Other(Echo):
    name = "acme-other"
"""


def test_a_parser_of_a_package_is_loaded_when_it_is_asked_for(registry: Registry, package: Package) -> None:
    package("acme-echo", ECHO, **{"acme-echo": "Echo"})
    assert statuses(registry)["acme-echo"].state == "not loaded"
    assert "acme_echo" not in sys.modules
    parser = registry.parser("acme-echo")
    assert parser.connection().feed(REQUEST, b"abc") == [End(REQUEST, 3, 0)]
    status = statuses(registry)["acme-echo"]
    assert (status.state, status.origin, status.ports, status.priority) == (
        "ready",
        "acme-echo: acme_echo:Echo",
        (7,),
        7,
    )


def test_a_package_that_fails_is_named_and_the_others_work(registry: Registry, package: Package) -> None:
    package("acme-echo", ECHO, **{"acme-echo": "Echo", "acme-misnamed": "Other", "acme-absent": "Nobody"})
    package("acme-broken", "raise RuntimeError('no licence')\n", **{"acme-broken": "Broken"})
    package("acme-exits", "import sys\nsys.exit('bye')\n", **{"acme-exits": "Broken"})
    with capture_logs() as logs:
        for _ in range(2):  # the second time it is not tried again
            with pytest.raises(
                ParserFaultError, match=r"acme-broken \(acme-broken: acme_broken:Broken\).*no licence"
            ):
                registry.parser("acme-broken")
    assert [(log["event"], log["parser"]) for log in logs] == [("parser failed", "acme-broken")]
    for name, reason in {
        "acme-exits": "SystemExit: bye",
        "acme-misnamed": "its name is 'acme-other', its entry point says 'acme-misnamed'",
        "acme-absent": "AttributeError",
    }.items():
        with pytest.raises(ParserFaultError, match=reason):
            registry.parser(name)
        assert (statuses(registry)[name].state, reason in statuses(registry)[name].reason) == ("failed", True)
    names = [parser.name for parser in registry.usable("tcp")]
    assert "acme-echo" in names
    assert not {"acme-broken", "acme-exits", "acme-misnamed"} & set(names)


def test_a_package_cannot_take_the_name_of_a_built_in_parser(registry: Registry, package: Package) -> None:
    package("acme-echo", ECHO, http1="Echo")
    with capture_logs() as logs:
        assert type(registry.parser("http1")).__module__ == "ebpfmesh.l7.http1"
        registry.names()
    assert [(log["origin"], log["reason"]) for log in logs] == [
        ("acme_echo:Echo", "the name is that of a built-in parser")
    ]


def test_of_two_packages_that_offer_the_same_name_neither_gets_it(
    registry: Registry, package: Package
) -> None:
    package("acme-echo", ECHO, **{"acme-echo": "Echo"})
    package("emca-echo", ECHO, **{"acme-echo": "Echo", "acme-other": "Other"})
    conflict = "several offer it, and none gets it: acme-echo: acme_echo:Echo; emca-echo: emca_echo:Echo"
    with pytest.raises(ParserFaultError, match=conflict):
        registry.parser("acme-echo")
    assert [(one.state, one.reason) for one in registry.parsers() if one.name == "acme-echo"] == [
        ("failed", conflict)
    ] * 2
    assert registry.parser("acme-other").name == "acme-other"
    with pytest.raises(ConfigError, match="the name is taken: emca-echo"):
        registry.register(like(name="acme-other"))


@pytest.mark.parametrize(("variable", "value", "left"), [
    ("EBPFMESH_PARSERS_DISABLED", "acme-echo, x", {"redis", "acme-other"}),
    ("EBPFMESH_PARSERS_DISABLED", "redis", {"acme-echo", "acme-other"}),
    ("EBPFMESH_PARSERS_DISABLED", "third-party", {"redis"}),
    ("EBPFMESH_PARSERS_DISABLED", "third-party,redis", set()),
    ("EBPFMESH_PARSERS_DISABLED", "", {"redis", "acme-echo", "acme-other"}),
    ("EBPFMESH_DISABLE_PLUGINS", "1", {"redis"}),
    ("EBPFMESH_DISABLE_PLUGINS", "all", {"redis"}),
    ("EBPFMESH_DISABLE_PLUGINS", "acme-other", {"redis", "acme-echo"}),
])  # fmt: skip
def test_parsers_are_disabled_by_the_environment(  # noqa: PLR0917 - fixtures
    variable: str,
    value: str,
    left: set[str],
    registry: Registry,
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package("acme-echo", ECHO, **{"acme-echo": "Echo", "acme-other": "Other"})
    monkeypatch.setenv(variable, value)
    names = {"redis", "acme-echo", "acme-other"}
    assert names & {parser.name for parser in registry.usable("tcp")} == left
    for name in names - left:
        with pytest.raises(ConfigError, match=f"parser {name}: it is disabled by {variable}"):
            registry.parser(name)
        assert statuses(registry)[name].state == "disabled"


def test_a_parser_that_fails_too_often_is_disabled_and_says_so(registry: Registry, package: Package) -> None:
    package("acme-echo", ECHO.replace("return l7.Pass", "return 1 / 0 and l7.Pass"), **{"acme-echo": "Echo"})
    parser = registry.parser("acme-echo")
    for _ in range(2):
        assert isinstance(parser.connection().feed(REQUEST, b"a")[0], Undecodable)
    with pytest.raises(ConfigError, match="it is disabled: 2 faults, the last: ZeroDivisionError"):
        registry.parser("acme-echo")
    status = statuses(registry)["acme-echo"]
    assert (status.state, status.faults) == ("disabled", 2)
    assert "acme-echo" not in {parser.name for parser in registry.usable("tcp")}


def test_importing_the_registry_loads_no_parser() -> None:
    script = (
        "import sys\nfrom ebpfmesh import l7\nl7.parsers()\n"
        "print([name for name in sys.modules if name.startswith('ebpfmesh.l7.') and"
        " name.rpartition('.')[2] in ('http1', 'http2', 'grpc', 'redis', 'dns', 'native')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


# --- libraries of others are proved ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tally"))


def face(library: Path, **changed: Any) -> type[Tally]:
    return type("Face", (Tally,), {"library": library, **changed})


def test_a_library_is_used_when_its_vectors_hold(library: Path, registry: Registry) -> None:
    registry.register(face(library))
    assert len(registry.parser("tally").connection().feed(REQUEST, b"M\0\0")) == 2
    assert statuses(registry)["tally"].calls == 0 + 1


def test_a_library_without_vectors_is_refused(library: Path, registry: Registry) -> None:
    registry.register(face(library, vectors=()))
    with pytest.raises(ParserFaultError, match="it brings a library and no vectors"):
        registry.parser("tally")


def test_a_core_that_loses_a_byte_at_a_split_is_named_with_the_vector_and_the_split(
    tmp_path: Path, registry: Registry
) -> None:
    text = HEADER.read_text().replace("half->got == 2) {", "half->got == 2 && at > window->start) {")
    assert text != HEADER.read_text()
    broken = tmp_path / "tally.h"
    broken.write_text(text)
    from probe import library as compiled

    registry.register(face(compiled(tmp_path, f'#include "{broken}"\n', "tally")))
    with pytest.raises(ParserFaultError) as caught:
        registry.parser("tally")
    assert "vector 'message', input 0 split at 2: event 0 is" in str(caught.value)
    assert statuses(registry)["tally"].state == "failed"
    assert "split at 2" in statuses(registry)["tally"].reason


def test_a_library_of_another_version_or_of_nobody_is_named(
    tmp_path: Path, library: Path, registry: Registry
) -> None:
    shutil.copy(library, tmp_path / "other.so")
    registry.register(face(tmp_path / "other.so", name="tally2"))
    with pytest.raises(ParserFaultError, match=r"SpecError: .*l7_core_tally2"):
        registry.parser("tally2")
    registry.register(face(tmp_path / "absent.so"))
    with pytest.raises(ParserFaultError, match="No such file"):
        registry.parser("tally")


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_a_vector_is_run_whole_at_every_split_and_byte_by_byte() -> None:
    found = list(splits([(REQUEST, b"abc"), (1, b"de"), (1, b"")]))
    assert [name for name, _ in found] == [
        "whole", "input 0 split at 1", "input 0 split at 2", "input 1 split at 1", "byte by byte",
    ]  # fmt: skip
    assert found[2][1] == [(0, b"ab"), (0, b"c"), (1, b"de"), (1, b"")]
    assert found[-1][1] == [(0, b"a"), (0, b"b"), (0, b"c"), (1, b"d"), (1, b"e"), (1, b"")]


@pytest.mark.parametrize(("vector", "reason"), [
    (Vector("v", [(REQUEST, b"M\0\0")]), "whole: an event too many"),
    (Vector("v", [(REQUEST, b"M\0\0")], [End(REQUEST, 3, 1)]), "whole: event 0 is .*'message'.*, not .*'end'"),
    (Vector("v", [(REQUEST, b"!")], [End(REQUEST, 3, 1)]), r"whole: no event .*'end'.*, but error \(16, 0\)"),
    (Vector("v", [(REQUEST, b"!")], error=(16, 1)), r"of the error is \(16, 0\), not \(16, 1\)"),
    (Vector("v", [(REQUEST, b"")], error=(3, 0)), r"of the error is None, not \(3, 0\)"),
    (Vector("v", [(REQUEST, bytes(LONGEST + 1))]), "is longer than 16384 bytes"),
])  # fmt: skip
def test_a_vector_that_does_not_hold_says_what_differs(vector: Vector, reason: str) -> None:
    with pytest.raises(ParserFaultError, match=f"vector 'v'.*{reason}"):
        run_vectors(PythonTally(), [vector])


def test_events_of_a_vector_may_be_plain_values() -> None:
    expect = [{"event": "message", "direction": "request", "position": 4, "stream": 1, "name": "x", "tone": 1},
              {"event": "end", "direction": "request", "position": 4, "stream": 1}]  # fmt: skip
    assert run_vectors(PythonTally(), [Vector("plain", [(REQUEST, b"M\1\0x")], expect)]) == 5
