"""Loading an object: declared capacities and constants, reused maps, and one owner of all that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import msgspec

from ebpfmesh.errors import LoadError, SpecError
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.pin import open_pinned
from ebpfmesh.maps import OpenMap, create
from ebpfmesh.maps.families import codec, open_map
from ebpfmesh.maps.open_map import check_name
from ebpfmesh.objects import reuse as reusing
from ebpfmesh.objects.open_object import LOG_SIZES, OpenObject, failed_program, load_error, verifier_error
from ebpfmesh.objects.program import Program
from ebpfmesh.objects.variable import Section, Variable, packed
from ebpfmesh.spec import MapSpec, ObjectSpec

Openable = OpenMap | int | str | Path  # an open map, its descriptor, or the path of its pin


class Objects:
    """What load() made: ``programs``, ``maps`` and ``variables`` by name; ``spec`` is the object it was read from.

    ``maps`` holds typed maps, Any to a type checker: their families differ. close() closes all; programs that are attached
    through a link, and maps that they use or that are pinned, live on in the kernel.
    """

    def __init__(
        self,
        spec: ObjectSpec,
        programs: dict[str, Program],
        maps: dict[str, Any],
        sections: dict[str, Section],
    ) -> None:
        self.spec = spec
        self.programs: Mapping[str, Program] = MappingProxyType(programs)
        self.maps: Mapping[str, Any] = MappingProxyType(maps)
        self.variables: Mapping[str, Variable] = MappingProxyType(
            {
                name: Variable(each, sections[each.section])
                for name, each in spec.variables.items()
                if each.section in sections
            }
        )
        self._sections = sections

    def close(self) -> None:
        """Close every program and map. Twice is harmless."""
        for each in (*self.programs.values(), *self.maps.values(), *self._sections.values()):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Objects {self.spec.name}: programs {', '.join(self.programs)}; maps {', '.join(self.maps)}>"


def load(
    source: ObjectSpec | str | Path,
    *,
    constants: Mapping[str, Any] | None = None,
    reuse: Mapping[str, Openable] | None = None,
    max_entries: Mapping[str, int] | None = None,
    programs: Collection[str] | None = None,
    inner_maps: Mapping[str, OpenMap | int] | None = None,
    types: Mapping[str, tuple[Any, Any]] | None = None,
) -> Objects:
    """Load an object; on any failure nothing of it stays open.

    ``constants``: values of variables in .rodata, typed by their C types. ``reuse``: open or pinned maps that stand
    for declared ones; type, sizes, capacity, flags and layouts must be equal. ``max_entries``: capacities by map, and
    by ``"NAME.inner"`` for the maps that a map of maps holds. ``programs``: load these only (maps are all made);
    default: all whose section does not begin with ``?``. ``inner_maps``: an open example for a map of maps that
    declares none. ``types``: Python types of key and value by map, (None, Value) for a ring buffer; they are checked
    against the object's BTF.

    Errors: SpecError (no such name, a map name over 15 characters), MapTypeError (a constant or type does not fit),
    LayoutError (a reused map differs), VerifierError (one line; .log has all), LoadError, CapabilityError, HostError
    (no kernel BTF).
    Minimum kernel: 5.2 for global data, else that of the programs. Capabilities: CAP_BPF, CAP_NET_ADMIN;
    CAP_PERFMON for tracing.
    """
    spec = source if isinstance(source, ObjectSpec) else ObjectSpec.from_file(source)
    request = _request(spec, constants, max_entries, programs, types or {})
    with ExitStack() as temporary:
        reused = {name: _opened(name, each) for name, each in (reuse or {}).items()}
        temporary.callback(reused.clear)  # a traceback keeps this frame, and would keep them open
        _known(spec, "map", reused, spec.maps)
        descriptors = {name: each.fd for name, each in reused.items()}
        for name, fd in descriptors.items():
            reusing.check(request.maps[name], fd)
        examples = dict(inner_maps or {})
        _known(spec, "map", examples, spec.maps)
        for name, wanted in request.maps.items():
            if (inner := wanted.inner) is not None and inner != spec.maps[name].inner and name not in reused:
                examples[name] = temporary.enter_context(_example(name, inner))
        numbers = {name: each if isinstance(each, int) else each.fd for name, each in examples.items()}

        def prepare(opened: OpenObject) -> None:
            request.apply(opened, descriptors, numbers)

        return _load(spec, prepare, lambda opened: _owned(opened, request, types or {}))


class _Request(NamedTuple):
    """What load() was asked for, checked against the spec."""

    maps: Mapping[str, MapSpec]  # with the wanted capacities
    spec: ObjectSpec
    constants: tuple[tuple[str, int, bytes], ...]  # section, offset, bytes
    programs: frozenset[str]

    def apply(self, opened: OpenObject, reused: Mapping[str, int], examples: Mapping[str, int]) -> None:
        opened.autoload(self.programs)
        for section, offset, data in self.constants:
            opened.set_bytes(section, offset, data)
        for name, number in examples.items():
            opened.call("bpf_map__set_inner_map_fd", opened.maps[name], number, where=f"map {name}")
        for name, wanted in self.maps.items():
            if wanted.max_entries != self.spec.maps[name].max_entries:
                opened.call(
                    "bpf_map__set_max_entries", opened.maps[name], wanted.max_entries, where=f"map {name}"
                )
        for name, fd in reused.items():
            opened.call("bpf_map__reuse_fd", opened.maps[name], fd, where=f"map {name}")


def _request(
    spec: ObjectSpec,
    constants: Mapping[str, Any] | None,
    max_entries: Mapping[str, int] | None,
    programs: Collection[str] | None,
    types: Mapping[str, tuple[Any, Any]],
) -> _Request:
    fixed = {name: variable for name, variable in spec.variables.items() if variable.constant}
    _known(spec, "constant", constants or {}, fixed)
    _known(spec, "map", types, spec.maps)
    if isinstance(programs, str):
        programs = (programs,)
    _known(spec, "program", programs or (), spec.programs)
    wanted = frozenset(
        (name for name, each in spec.programs.items() if each.autoload) if programs is None else programs
    )
    for name in wanted:
        if spec.programs[name].type is None:
            section = spec.programs[name].section
            raise SpecError(
                f"section {section} says no program type",
                where=f"program {name}",
                remedy="see spec/sections.py",
            )
    for name, each in spec.maps.items():
        check_name(name)
        key, value = types.get(name, (None, None))
        codec(key, each.key, each.key_size, f"map {name}, key")
        codec(value, each.value, each.value_size, f"map {name}, value")
    values = tuple(
        (fixed[name].section, fixed[name].offset, packed(fixed[name], value))
        for name, value in (constants or {}).items()
    )
    return _Request(_capacities(spec, max_entries or {}), spec, values, wanted)


def _capacities(spec: ObjectSpec, max_entries: Mapping[str, int]) -> dict[str, MapSpec]:
    """The map specs with the capacities of ``max_entries``."""
    inner = {f"{name}.inner": each.inner for name, each in spec.maps.items() if each.inner}
    _known(spec, "map", max_entries, {**spec.maps, **inner})
    maps = dict(spec.maps)
    for name, count in max_entries.items():
        if not isinstance(count, int) or not 0 < count < 1 << 32:
            raise SpecError(f"max_entries {count!r} is no positive 32-bit number", where=f"map {name}")
        if name in inner:
            outer = name.removesuffix(".inner")
            changed = msgspec.structs.replace(inner[name], max_entries=count)
            maps[outer] = msgspec.structs.replace(maps[outer], inner=changed)
        else:
            maps[name] = msgspec.structs.replace(maps[name], max_entries=count)
    return maps


def _known(spec: ObjectSpec, what: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise SpecError(
                f"it has no {what} {name}", where=f"object {spec.name}", remedy=f"it has: {there}"
            )


def _opened(name: str, source: Openable) -> Descriptor:
    """The descriptor of a map to reuse, to be held until the load is over."""
    if isinstance(source, OpenMap):
        return source.descriptor
    if isinstance(source, int):
        return Descriptor.duplicate(source, f"map {name}")
    return Descriptor(open_pinned(source, "map"), f"map {name} at {source}")


def _example(name: str, inner: MapSpec) -> Any:
    """A map like those that the map of maps ``name`` will hold; the kernel takes their type, sizes and flags from it."""
    return create(
        inner.type,
        name=f"{name[:12]}.in",
        key_size=inner.key_size,
        value_size=inner.value_size,
        max_entries=inner.max_entries,
        flags=inner.flags,
    )


def _load(
    spec: ObjectSpec, prepare: Callable[[OpenObject], None], own: Callable[[OpenObject], Objects]
) -> Objects:
    """Load without a log, which is faster; where the kernel refuses a program, once more with one to say why."""
    with OpenObject(spec) as opened:
        prepare(opened)
        number, lines = opened.load()
        if number == 0:
            return own(opened)
    program = failed_program(lines)
    failure = load_error(spec, number, lines)
    if program is None or not isinstance(failure, LoadError):
        raise failure
    for size in LOG_SIZES:
        with OpenObject(spec) as opened:
            prepare(opened)
            again, log = opened.load_with_log(program, size)
            if again == 0:  # the cause went away between the two
                return own(opened)
        if len(log) < size - 1:
            break
    raise verifier_error(program, number, log) if log.strip() else failure


def _owned(opened: OpenObject, request: _Request, types: Mapping[str, tuple[Any, Any]]) -> Objects:
    """Objects of our own from libbpf's descriptors; libbpf's are closed after it."""
    programs: dict[str, Program] = {}
    maps: dict[str, Any] = {}
    sections: dict[str, Section] = {}
    with ExitStack() as undo:
        for name, descriptor in opened.descriptors("maps").items():
            if (declared := request.maps.get(name)) is not None:
                key, value = types.get(name, (None, None))
                layouts = declared.key, declared.value
                maps[name] = open_map(
                    descriptor, name=name, key=key, value=value, layouts=layouts, inner=declared.inner
                )
                undo.callback(maps[name].close)
            else:
                sections[name] = Section(open_map(descriptor, name=name))
                undo.callback(sections[name].close)
        for name, descriptor in opened.descriptors("programs").items():
            programs[name] = Program(descriptor, name, request.spec.programs.get(name))
            undo.callback(programs[name].close)
        undo.pop_all()
    return Objects(request.spec, programs, maps, sections)
