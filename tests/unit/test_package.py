"""What `import ebpfmesh` gives, and what it costs."""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import importlib.util
import json
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import ebpfmesh

PACKAGE = Path(ebpfmesh.__file__).parent

# each costs more than the rest of the import together, and an agent that only reads a status needs none of them
HEAVY = ("elftools", "structlog", "msgspec", "cffi", "_cffi_backend", "ctypes", "asyncio", "ipaddress", "bcc")


def test_importing_it_imports_nothing_heavy() -> None:
    program = "import sys, json, ebpfmesh; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert not loaded & set(HEAVY)
    assert "ebpfmesh" in loaded


def test_importing_it_takes_no_more_than_twice_its_bar_even_on_a_busy_machine() -> None:
    program = "import time; start = time.perf_counter(); import ebpfmesh; print(time.perf_counter() - start)"
    times = [
        float(subprocess.run(
            [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
        ).stdout)
        for _ in range(5)
    ]  # fmt: skip
    assert min(times) < 0.160


def test_every_exported_name_is_there() -> None:
    assert ebpfmesh.__all__
    assert len(ebpfmesh.__all__) == len(set(ebpfmesh.__all__))
    for name in ebpfmesh.__all__:
        assert getattr(ebpfmesh, name) is not None
    assert set(ebpfmesh.__all__) <= set(dir(ebpfmesh))


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    try:
        ebpfmesh.no_such_name  # noqa: B018
    except AttributeError as error:
        assert "no_such_name" in str(error)
    else:
        raise AssertionError("no AttributeError")


def test_type_checkers_see_every_exported_name() -> None:
    """A lazily imported name must stand in the file as an import or assignment too, or editors do not know it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            seen |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            seen |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            seen.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            seen.add(node.name)
    assert set(ebpfmesh.__all__) <= seen


def test_every_exception_is_exported_where_the_docs_say() -> None:
    from ebpfmesh import errors

    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, errors.EbpfMeshError), name
            assert name in (errors.__doc__ or ""), f"{name} is missing in the drawing at the top of errors.py"


def test_every_module_imports_on_its_own_and_says_what_it_is() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "ebpfmesh.")
        if not module.name.endswith(("__main__", "._libbpf", "._native"))
    ]
    assert len(names) > 20
    undocumented = [name for name in names if not importlib.import_module(name).__doc__]
    # directories that hold nothing yet, or data only
    assert [
        name for name in undocumented if (spec := importlib.util.find_spec(name)) and _has_code(spec.origin)
    ] == []


def _has_code(origin: str | None) -> bool:
    return origin is not None and bool(Path(origin).read_text().strip())


def test_the_marker_of_types_is_in_the_package() -> None:
    assert (importlib.resources.files("ebpfmesh") / "py.typed").is_file()


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())["project"]
    assert ebpfmesh.__version__ == project["version"]
