"""``ebpfmesh explain``: why a request is decided as it is, by the configuration, or as the kernel recorded it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ebpfmesh.errors import ConfigError, HostError

if TYPE_CHECKING:
    from ebpfmesh.observe import Decision
    from ebpfmesh.observe.explain import Explanation
    from ebpfmesh.policy.model import Config

_EPILOGUE = """\
ebpfmesh explain mesh.toml --service orders --from checkout POST /admin -H 'x-user: root'
ebpfmesh explain mesh.toml --service orders --from checkout --recorded orders.requests
ebpfmesh explain --recent shop --rule no-admin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE and a request, or --recent and what to look for."""
    parser.usage = (
        "ebpfmesh explain FILE --service NAME [--from WHO] [METHOD TARGET] [-H 'NAME: VALUE'] …\n"
        "       ebpfmesh explain FILE --service NAME [--from WHO] --recorded RECORDING\n"
        "       ebpfmesh explain --recent [MESH] [--cookie N] [--rule NAME] [--path TEXT] [--denied]"
    )
    parser.epilog = _EPILOGUE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    # argparse takes optional words only where the first of them stands; those that are required may stand between options
    for word, help_ in (
        ("file", "the configuration, in TOML"),
        ("method", "of the request (GET)"),
        ("target", "path, with or without a query (/)"),
    ):
        parser.add_argument(word, metavar=word.upper(), help=help_).required = False
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _described(parser.add_argument_group("a request that is described"))
    _kept(parser.add_argument_group("requests that the kernel recorded"))


def _described(asked: argparse._ArgumentGroup) -> None:
    asked.add_argument("--service", metavar="NAME", help="the service, or one of its addresses with the port")
    asked.add_argument(
        "--from", dest="source", action="append", default=[], metavar="WHO",
        help="who asks: a workload, a SPIFFE id, a cgroup, an address; may be repeated",
    )  # fmt: skip
    asked.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header; may be repeated",
    )
    asked.add_argument("--port", type=int, help="the port that is connected to")
    asked.add_argument(
        "--exhausted",
        action="append",
        default=[],
        metavar="LIMIT",
        help="a limit that is used up; may be repeated",
    )
    asked.add_argument(
        "--recorded",
        metavar="RECORDING",
        help="in place of a request: a file with what a client sent on one connection; each request in it",
    )


def _kept(recorded: argparse._ArgumentGroup) -> None:
    recorded.add_argument(
        "--recent",
        nargs="?",
        const="",
        metavar="MESH",
        help="the last decisions of the mesh, and why they were made",
    )
    recorded.add_argument("--cookie", type=int, metavar="N", help="those of one socket")
    recorded.add_argument("--rule", metavar="NAME", help="those that a rule, limit or fault decided")
    recorded.add_argument("--path", metavar="TEXT", help="those whose path begins so")
    recorded.add_argument("--denied", action="store_true", help="those that were not allowed")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation. Errors: those of the file; ConfigError, HostError for what is not there."""
    if arguments.recent is not None:
        return _recent(arguments)
    if arguments.file is None:
        arguments.parser.error("give FILE and --service, or --recent")
    if arguments.service is None:
        arguments.parser.error("give --service: whose request is it?")
    from pathlib import Path

    from ebpfmesh.cli.configuration import checked
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.observe.explain import explain

    config = checked(Path(arguments.file))
    if arguments.recorded is not None:
        return _recorded(config, arguments)
    method, target = _request(arguments.method, arguments.target)
    found = explain(
        config, arguments.service, source=arguments.source, method=method, target=target,
        headers=[_header(text) for text in arguments.header], port=arguments.port, exhausted=arguments.exhausted,
    )  # fmt: skip
    if arguments.json:
        print_json(found)
    else:
        print(_text(found))
    return 0


def _recorded(config: Config, arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from ebpfmesh.cli.decision_line import plain
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.observe.explain import explain_recorded

    if arguments.method is not None or arguments.header:
        arguments.parser.error("--recorded takes no request beside it")
    place = Path(arguments.recorded)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise HostError(error.strerror or str(error), where=str(place)) from None
    found = list(
        explain_recorded(
            config, arguments.service, data,
            source=arguments.source, port=arguments.port, exhausted=arguments.exhausted,
        )
    )  # fmt: skip
    if arguments.json:
        print_json(found)
        return 0
    for number, one in enumerate(found, 1):
        print(f"{number} {plain(one.request or 'not read')}: {_text(one)}")
    return 0


def _request(method: str | None, target: str | None) -> tuple[str, str]:
    """Method and target: "GET /a", "/a" and "POST" alone are enough."""
    if method is None:
        return "GET", "/"
    if target is None:
        return ("GET", method) if method[:1] == "/" or "://" in method else (method, "/")
    return method, target


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError(f"{text!r} is no header", where="-H", remedy="write 'x-user: root'")
    return name.strip(), value.strip()


def _text(found: Explanation) -> str:
    lines = [
        found.sentence,
        f"  tier       {found.tier}: {found.tier_why}",
        f"  from       {found.workload or 'nobody that is named'}",
    ]
    if found.path is not None:
        lines.append(f"  path       {found.path}")
    if found.reply is not None:
        lines.append(f"  reply      {found.reply}")
    if found.route is not None:
        lines.append(f"  route      {found.route}")
    if found.audited:
        lines.append("  audited    it is logged")
    lines += [
        f"  limit      {one.name}: {one.what}{', used up' if one.refuses else ''}" for one in found.limits
    ]
    lines += [f"  fault      {one}" for one in found.faults]
    if found.allowed:
        backends = ", ".join(f"{one.address} ({one.share:.0%})" for one in found.backends)
        lines.append(f"  backends   {backends or 'none takes connections'}; {found.balancer}")
    lines += [f"  {'looked at' if not number else '':10} {step}" for number, step in enumerate(found.steps)]
    lines += [f"  note       {note}" for note in found.notes]
    return "\n".join(lines)


def _recent(arguments: argparse.Namespace) -> int:
    from ebpfmesh.cli.decision_line import line
    from ebpfmesh.cli.mesh_name import mesh_name
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.cli.pinned import pins_of
    from ebpfmesh.observe import Observer

    if arguments.file is not None:
        arguments.parser.error("--recent asks the kernel and takes no FILE")
    arguments.name = arguments.recent or None
    name = mesh_name(arguments)
    with Observer(pins_of(name, arguments)) as observer:
        found = [one for one in observer.recent() if _wanted(one, arguments)]
    if arguments.json:
        print_json(found)
        return 0
    if not found:
        raise HostError("no such decision is among the last 1024", where=f"mesh {name}")
    for decision in found:
        print(line(decision))
        print(f"  {_details(decision)}")
    return 0


def _wanted(decision: Decision, arguments: argparse.Namespace) -> bool:
    return (
        (arguments.cookie is None or decision.cookie == arguments.cookie)
        and (arguments.rule is None or decision.rule == arguments.rule)
        and (arguments.path is None or (decision.path or "").startswith(arguments.path))
        and (arguments.service is None or decision.service == arguments.service)
        and not (arguments.denied and decision.allowed)
    )


def _details(decision: Decision) -> str:
    details = {
        "socket": decision.cookie, "stream": decision.stream, "client": decision.client, "backend": decision.backend,
        "host": decision.host, "route": decision.route, "trace": decision.traceparent, "policy": decision.policy,
        "list": decision.list,
    }  # fmt: skip
    from ebpfmesh.cli.decision_line import plain

    return ", ".join(f"{name} {plain(str(value))}" for name, value in details.items() if value)
