"""Reading a configuration from TOML: what does not fit the model is refused with the path of the field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.invalid import translated
from ebpfmesh.policy.model import Backend, Balance, Capacity, Config, Service

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

    Short forms are taken: a backend as its address, a balance as its name. ``data`` is not changed.
    """
    try:
        return msgspec.convert(_long(data), Config)
    except msgspec.ValidationError as error:
        raise translated(error, fields=_fields_at(str(error))) from error


def _long(data: dict[str, Any]) -> dict[str, Any]:
    services = data.get("services")
    if not isinstance(services, list):
        return data
    return {**data, "services": [_long_service(one) if isinstance(one, dict) else one for one in services]}


def _long_service(service: dict[str, Any]) -> dict[str, Any]:
    result = dict(service)
    if isinstance(balance := service.get("balance"), str):
        result["balance"] = {"name": balance}
    if isinstance(backends := service.get("backends"), list):
        result["backends"] = [{"address": one} if isinstance(one, str) else one for one in backends]
    return result


def _fields_at(message: str) -> tuple[str, ...]:
    model: type[msgspec.Struct] = Config
    for part, struct in (
        (".capacity", Capacity),
        (".services[", Service),
        (".backends[", Backend),
        (".balance", Balance),
    ):
        if part in message:
            model = struct
    return model.__struct_fields__


def _syntax(message: str, text: str, name: str) -> ConfigError:
    match = _POSITION.match(message)
    if match is None:
        return ConfigError(f"it is no TOML: {message}", where=name)
    line = match["line"] or str(text.count("\n") + 1)
    what = match["what"][:1].lower() + match["what"][1:]
    return ConfigError(
        f"it is no TOML: {what}", where=f"{name}:{line}" + (f":{match['column']}" if match["column"] else "")
    )
