"""The documentation says what is true: snippets, configurations, commands, links, tables."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ebpfmesh
from documentation import ALL, PAGES, ROOT, Block, alike, anchors, prose, snippet
from ebpfmesh import errors, l7, policy
from ebpfmesh.cli import main as cli
from ebpfmesh.l7.registry import BUILT_IN
from ebpfmesh.policy import model, toml
from ebpfmesh.policy.capacity import Need
from ebpfmesh.policy.check import problems
from ebpfmesh.tiers.connect.memory import estimate

sys.path.insert(0, str(ROOT / "docs"))
import generate

DOCS = ROOT / "docs"
NAMED = [pytest.param(page, id=page.name) for page in PAGES]
REMEDY = "run: python docs/generate.py"


def each(*languages: str) -> Any:
    """A parameter for every block in one of the languages."""
    return pytest.mark.parametrize("block", [one for one in ALL if one.language in languages], ids=str)


# --- blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_is_checked_by_something(block: Block) -> None:
    assert block.language in {"python", "c", "toml", "console", "text", "ini"}
    if block.language == "text":
        assert re.match(r"drawing$|agent$|error: ", block.origin), "a text without an origin"


@each("python", "c")
def test_code_is_that_of_a_file_that_tests_run(block: Block) -> None:
    wanted = snippet(block.origin)
    assert wanted is not None, "code in a page comes from an example"
    assert block.text == wanted, REMEDY
    [path] = re.findall(r"snippet: (\S+)", block.origin)
    name = Path(path.removesuffix(".bpf.c")).stem + ".py"
    tests = [one for one in (ROOT / "tests").rglob("test_*.py") if name in one.read_text()]
    assert tests, f"no test runs {name}"


@each("toml")
def test_a_configuration_is_accepted(block: Block) -> None:
    if (wanted := snippet(block.origin)) is not None:
        assert block.text == wanted, REMEDY
    if "[build-system]" in block.text:
        return  # of a package: test_tutorial.py installs it
    assert problems(toml.loads(block.text)) == []


@each("ini")
def test_a_unit_starts_a_command_that_exists(block: Block) -> None:
    [line] = re.findall(r"^ExecStart=\S*/(ebpfmesh .*)$", block.text, flags=re.MULTILINE)
    parsed(line)


# --- commands ------------------------------------------------------------------------------------------------------


def parsed(command: str) -> argparse.Namespace:
    """The arguments of ``ebpfmesh …``; fails if the command line would not take them."""
    words = shlex.split(command)[1:]
    try:
        return cli._parser(words).parse_args(words)
    except SystemExit as error:
        raise AssertionError(f"the command line refuses: {command}") from error


OTHERS = {"sudo", "sh", "curl", "mkdir", "rmdir", "echo", "sed", "kill", "python3", "git", "cd", "head", "make",
          "printf", "pip", ".venv/bin/python", "tests/fuzz/run",
          "/opt/ebpfmesh/bin/pip", "/opt/ebpfmesh/bin/ebpfmesh", "ebpfmesh"}  # fmt: skip


@each("console")
def test_every_command_exists(block: Block) -> None:
    commands = [line for line, _ in block.commands] or [
        line.partition("#")[0].strip() for line in block.text.splitlines()
    ]
    assert commands
    for command in commands:
        plain = command.removeprefix("sudo ").partition(" |")[0].partition(" >")[0].rstrip(" &")
        assert plain.split()[0] in OTHERS, f"is {plain} a command?"
        if re.match(r"(/opt/ebpfmesh/bin/)?ebpfmesh ", plain):
            parsed(plain)
        for target in re.findall(r"(?:^|sudo )make ([a-z]+)", command):
            assert target in make_targets()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("block", [one for one in ALL if one.origin == "run"], ids=str)
def test_a_command_that_needs_no_kernel_says_what_the_page_shows(block: Block, tmp_path: Path) -> None:
    for command, shown in block.commands:
        program, *rest = shlex.split(command)
        ours = ["-m", "ebpfmesh", "--run-root", str(tmp_path)] if program == "ebpfmesh" else []
        words = [sys.executable, *ours, *rest]
        environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin"}
        done = subprocess.run(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        said = sorted(done.stdout.splitlines())
        assert len(said) == len(shown.splitlines()), command
        assert all(map(alike, said, sorted(shown.splitlines()))), done.stdout


@pytest.mark.parametrize("page", NAMED)
def test_every_command_in_the_text_exists(page: Path) -> None:
    for command in re.findall(r"`(ebpfmesh [a-z][^`]*)`", prose(page)):
        assert command.split()[1] in cli.COMMANDS, command
    for target in re.findall(r"`make ([a-z]+)[^`]*`", prose(page)):
        assert target in make_targets(), target


# --- links and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", NAMED)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


@pytest.mark.parametrize("page", NAMED)
def test_every_path_and_name_in_the_text_exists(page: Path) -> None:
    text = prose(page)
    for path in re.findall(r"`((?:src|docs|examples|tests|bench|scripts|build_tools)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path.startswith("bench/results"), path
    for name in re.findall(r"`ebpfmesh\.(\w+)(?:`|\.|\()", text):
        if name not in ("balancers", "parsers"):  # groups of entry points
            assert name in ebpfmesh.__all__ or import_module(f"ebpfmesh.{name}"), name
    for name in re.findall(r"`hooks\.([A-Z_0-9]+)\b", text):
        assert hasattr(ebpfmesh.hooks, name), name
    for name in re.findall(r"`Mesh\.(\w+)", text):
        assert hasattr(ebpfmesh.Mesh, name), name


def test_every_page_is_reached_from_the_readme() -> None:
    linked = re.findall(r"\]\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text())
    assert {page.name for page in DOCS.glob("*.md")} <= set(linked)


@pytest.mark.parametrize("page", NAMED)
def test_lines_fit_an_editor(page: Path) -> None:
    for number, line in enumerate(prose(page).splitlines(), 1):
        assert len(line) <= 150 or line.startswith("|"), f"{page.name}, line {number} of its prose"


# --- what is repeated from the code -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "tables"), [("kernel-support", 3), ("parsers", 2), ("parser-reference", 19)]
)
def test_tables_are_those_of_the_sources(page: str, tables: int) -> None:
    text = (DOCS / f"{page}.md").read_text()
    assert generate.render(text) == text, REMEDY
    assert text.count("<!-- generated: ") == tables


def test_every_event_of_a_built_in_parser_is_in_the_reference() -> None:
    documented = {row[0].strip("`") for row in rows((DOCS / "parser-reference.md").read_text(), "event")}
    for name in BUILT_IN:
        parser = l7.parser(name)
        assert isinstance(parser, l7.CoreParser)
        told = {kind.event.__name__ for kind in parser.kinds.values() if kind.event is not None}
        assert told <= documented, REMEDY


def test_every_leniency_is_in_the_pages() -> None:
    text = (DOCS / "parsers.md").read_text() + (DOCS / "http1-conformance.md").read_text()
    for name in BUILT_IN:
        for leniency in l7.parser(name).leniencies:
            assert f"`{leniency}`" in text, leniency


def test_the_limits_in_the_pages_are_those_of_the_sources() -> None:
    cores = ROOT / "src/ebpfmesh/bpf/include/ebpfmesh/l7"
    said = " ".join(limit for _, limit, _ in rows((DOCS / "parsers.md").read_text(), "what"))
    for header, name in (
        ("http2/frame.h", "HTTP2_STREAMS"), ("http2/frame.h", "HTTP2_CONTINUATIONS"),
        ("http1/state.h", "HTTP1_OUTSTANDING"), ("redis.h", "REDIS_DEPTH"),
    ):  # fmt: skip
        [number] = re.findall(rf"^#define {name} (\d+)", (cores / header).read_text(), re.M)
        assert re.search(rf"\b{number}\b", said), name


SECTIONS: dict[str, tuple[type[msgspec.Struct], tuple[str | int, ...]]] = {
    "Top level": (model.Config, ()),
    "Capacity": (model.Capacity, ("capacity",)),
    "Log": (policy.Log, ("log",)),
    "Services": (model.Service, ("services", 0)),
    "Backends": (model.Backend, ("services", 0, "backends", 0)),
    "Balance": (model.Balance, ("services", 0, "balance")),
    "Workloads": (policy.Workload, ("workloads", 0)),
    "Replies": (policy.Reply, ("replies", 0)),
    "Http": (policy.Http, ("services", 0, "http")),
    "Rules": (policy.Rule, ("services", 0, "rules", 0)),
    "Sources": (policy.Source, ("services", 0, "rules", 0, "from", 0)),
    "Headers": (policy.HeaderMatch, ("services", 0, "rules", 0, "headers", 0)),
    "Limits": (policy.Limit, ("services", 0, "limits", 0)),
    "Faults": (policy.Fault, ("services", 0, "faults", 0)),
    "Routes": (policy.Route, ("services", 0, "routes", 0)),
}


def section(page: Path, title: str) -> str:
    """The text under a heading, up to the next of its level."""
    found = re.search(rf"^(##+) {re.escape(title)}$\n(.*?)(?=^##? |\Z)", page.read_text(), re.M | re.S)
    assert found, f"{page.name} has no section {title}"
    return found[2]


def rows(text: str, head: str) -> list[list[str]]:
    """The rows of the tables whose header begins with ``head``."""
    found, reading = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            reading = False
        elif reading and not line.startswith("| ---"):
            found.append(cells)
        elif cells[0] == head:
            reading = True
    return found


@pytest.mark.parametrize("title", SECTIONS)
def test_every_field_is_documented_with_its_default(title: str) -> None:
    struct, _ = SECTIONS[title]
    documented = {
        row[0].strip("`"): row[2] for row in rows(section(DOCS / "configuration.md", title), "field")
    }
    assert set(documented) == set(struct.__struct_encode_fields__)
    for field in msgspec.structs.fields(struct):
        shown = documented[field.encode_name]
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.required:
            assert shown == "required", field.name
        elif shown.startswith("`"):
            if default is None:
                continue  # of what stands for it when it is left out
            wanted = tomllib.loads(f"x = {shown.strip('`')}")["x"]
            plain = "round-robin" if default == model.Balance() else msgspec.to_builtins(default)
            assert wanted == (list(plain) if isinstance(plain, tuple) else plain), field.name
        else:
            assert default in (None, model.Capacity(), policy.Http(), policy.Log()), field.name


WRONG = [
    (title, wrong, said)
    for title in SECTIONS
    for wrong, said in rows(section(DOCS / "configuration.md", title), "wrong")
]


@pytest.mark.parametrize(("title", "wrong", "said"), WRONG, ids=[f"{one[0]}: {one[1]}" for one in WRONG])
def test_what_is_wrong_is_refused_with_the_words_of_the_page(title: str, wrong: str, said: str) -> None:
    web: dict[str, Any] = {
        "name": "web", "addresses": ["10.96.0.10:80"], "balance": {"name": "maglev"},
        "backends": [{"address": "10.0.0.1:80"}], "l7": "http1", "http": {},
        "rules": [
            {"name": "no-admin", "action": "deny", "from": [{"workload": "checkout"}], "headers": [{"name": "x-user"}]},
        ],
        "limits": [{"name": "one-user", "rate": "5/s"}],
        "faults": [{"name": "some-fail", "percentage": 5}], "routes": [{"name": "all"}],
    }  # fmt: skip
    whole: dict[str, Any] = {
        "name": "shop", "cgroup": "/shop", "capacity": {}, "log": {}, "services": [web],
        "workloads": [{"name": "checkout", "cgroup": "/shop/checkout", "labels": {"team": "pay"}}],
        "replies": [{"name": "gone", "status": 403}],
    }  # fmt: skip
    if "the services need 2" in said:
        web["backends"].append({"address": "10.0.0.2:80"})
    at: Any = whole
    for step in SECTIONS[title][1]:
        at = at[step]
    at.update(tomllib.loads("\n".join(re.findall(r"`([^`]*)`", wrong))))
    try:
        found = problems(toml.from_mapping(whole))
    except errors.ConfigError as error:
        found = [error]
    assert said.strip("`") in [str(one) for one in found]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    [heading] = re.findall(rf"^## (ebpfmesh {name}\b.*)$", (DOCS / "command-line.md").read_text(), flags=re.M)
    parser = cli._parser([name])
    [commands] = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    common = {option for one in parser._actions for option in one.option_strings}
    actions = commands.choices[name]._actions
    options = {one.option_strings[-1] for one in actions if one.option_strings} - common
    documented = {
        re.findall(r"--[\w-]+", row[0])[0]
        for row in rows(section(DOCS / "command-line.md", heading), "option")
    }
    assert documented == options
    arguments = [f"[{one.metavar}]" if one.nargs == "?" else one.metavar for one in actions
                 if not one.option_strings]  # fmt: skip
    assert heading.split()[2:] == arguments
    above = (DOCS / "command-line.md").read_text().partition("## ")[0]
    assert {one for one in common if one.startswith("--")} == set(
        re.findall(r"^\| `(--[\w-]+)", above, flags=re.M)
    )


def test_every_event_of_run_is_documented() -> None:
    said = re.findall(r'_say\(\s*"(\w+)"', (ROOT / "src/ebpfmesh/cli/run.py").read_text())
    documented = [row[0].strip("`") for row in rows((DOCS / "command-line.md").read_text(), "event")]
    assert set(documented) == set(said)


def test_every_error_is_explained_and_shown() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EbpfMeshError)
    } - {"EbpfMeshError", "KernelError"}  # bases that are not raised by themselves, or hardly
    assert set(re.findall(r"^### (\w+Error)$", text, flags=re.M)) == classes
    assert set(re.findall(r"<!-- error: (\w+)", text)) == classes


def test_every_column_of_status_is_explained() -> None:
    source = (ROOT / "src/ebpfmesh/cli/status.py").read_text()
    columns = re.findall(r'"([A-Z]{4,})"', source)
    documented = [row[0] for row in rows(section(DOCS / "operations.md", "What status says"), "column")]
    assert columns == documented


def test_the_memory_that_a_capacity_takes_is_what_the_estimate_says() -> None:
    many = 1 << 16
    room = Need(many, many, many, many)
    base = estimate(room, many)
    each = {
        name: (estimate(room._replace(**{name: 2 * many}), many) - base) // many for name in Need._fields
    } | {"udp_flows": (estimate(room, 2 * many) - base) // many}
    documented = rows(section(DOCS / "operations.md", "Memory and capacities"), "capacity")
    assert {row[0].strip("`"): int(row[1]) for row in documented} == each


def test_every_built_in_balancer_is_in_the_concepts() -> None:
    from ebpfmesh.engine.balance import registry

    named = rows((DOCS / "concepts.md").read_text(), "name")
    assert {re.findall(r"`([\w-]+)`", row[0])[0] for row in named} == set(registry._BUILT_IN)


# --- the changelog and the numbers --------------------------------------------------------------------------------------


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, flags=re.M)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, flags=re.M)) <= kinds
    assert ebpfmesh.__version__ in text


def test_a_number_in_the_readme_is_a_measured_one() -> None:
    """Each row is one of bench/results/bars.json, and no further from it than two runs on a shared machine may be."""
    shown = rows((ROOT / "README.md").read_text(), "measured")
    results = ROOT / "bench" / "results" / "bars.json"
    if not shown:
        return
    bars = {bar["name"]: bar for bar in json.loads(results.read_text())}
    for name, value, promised, holds in shown:
        found = bars[name]
        assert holds == ("yes" if found["holds"] else "no"), f"{name}: {REMEDY}"
        assert promised == found["bar"], name
        assert float(value.split()[0]) == pytest.approx(found["value"], rel=0.5), f"{name}: {REMEDY}"


def test_what_differs_between_hosts_is_not_compared_and_what_does_not_is() -> None:
    assert alike("process 12 at /run/x, 3.5 MiB", "process 9 at /run/other/y, 640 B")
    assert alike("open in process 3 (pytest): EBUSY", "open in process 3 (…): EBUSY")
    assert not alike("one\ntwo", "two\none")
    assert not alike("process 12 holds it", "process 12 held it")
