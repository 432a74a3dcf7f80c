"""Reading a configuration from TOML: what does not fit the model is refused with the path of the field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import request_match, source
from ebpfmesh.policy.invalid import translated
from ebpfmesh.policy.model import Config

_POSITION = re.compile(
    r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL
)


def read(path: str | Path) -> Config:
    """Read a file; ConfigError if it cannot be read, is no TOML or does not fit the model.

    What the types of the model cannot say (an address that is none, two services of one name) is found
    by `ebpfmesh.policy.check`.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("it is not UTF-8, which TOML has to be", where=f"{path}:{line}") from error
    return loads(text, name=str(path))


def loads(text: str, *, name: str = "configuration") -> Config:
    """Read a configuration from ``text``; ``name`` is what a syntax error calls it. ConfigError as for `read`."""
    import tomllib  # 5 ms, and only needed where a file is read

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(str(error), text, name) from error
    except RecursionError as error:
        raise ConfigError("it is nested too deeply", where=name) from error
    return from_mapping(data)


def from_mapping(data: dict[str, Any]) -> Config:
    """A configuration from plain dicts and lists, as TOML or JSON give them; ConfigError with the path of what is wrong.

    Short forms are taken: a backend as its address, a balance as its name, a source as its text, headers as a table, a
    gRPC method as "service/method". ``data`` is not changed.
    """
    try:
        return msgspec.convert(_long(data), Config)
    except msgspec.ValidationError as error:
        raise translated(error) from error


def _long(data: dict[str, Any]) -> dict[str, Any]:
    services = data.get("services")
    if not isinstance(services, list):
        return data
    return {**data, "services": [_long_service(one) if isinstance(one, dict) else one for one in services]}


def _long_service(service: dict[str, Any]) -> dict[str, Any]:
    result = dict(service)
    if isinstance(balance := service.get("balance"), str):
        result["balance"] = {"name": balance}
    _lengthen(result, "backends", lambda one: {"address": one})
    for kind in ("rules", "limits", "faults", "routes"):
        if isinstance(listed := service.get(kind), list):
            result[kind] = [_long_match(one) if isinstance(one, dict) else one for one in listed]
    return result


def _long_match(match: dict[str, Any]) -> dict[str, Any]:
    result = dict(match)
    if isinstance(headers := match.get("headers"), dict):
        result["headers"] = request_match.headers_of(headers)
    _lengthen(result, "from", source.fields_of)
    _lengthen(result, "headers", lambda name: {"name": name})
    _lengthen(result, "grpc", request_match.grpc_of)
    return result


def _lengthen(table: dict[str, Any], field: str, long: Callable[[str], dict[str, Any]]) -> None:
    """Write the strings in a list in their long form."""
    if isinstance(listed := table.get(field), list):
        table[field] = [long(one) if isinstance(one, str) else one for one in listed]


def _syntax(message: str, text: str, name: str) -> ConfigError:
    match = _POSITION.match(message)
    if match is None:
        return ConfigError(f"it is no TOML: {message}", where=name)
    line = match["line"] or str(text.count("\n") + 1)
    what = match["what"][:1].lower() + match["what"][1:]
    return ConfigError(
        f"it is no TOML: {what}", where=f"{name}:{line}" + (f":{match['column']}" if match["column"] else "")
    )
