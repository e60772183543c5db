"""Imports point downwards only: what ``layers.py`` says is so.

A module that is on no shelf there fails the tests: whoever adds one decides where it belongs.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import anyio_ws

from .layers import ROOMS, SHELVES, modules, shelf_of

PACKAGE = "anyio_ws"
ROOT = Path(anyio_ws.__file__).parent


# Beyond its room's libraries.
LIBRARIES = {
    "json_codecs": {"msgspec", "orjson", "pydantic"},
    "transports.proxy": {"python_socks"},
    "adapters": {"trio"},  # for its types
    "trio_adapter": {"trio"},
}

# A Close and a Response are what some errors carry, a WebSocket is what a hook is called with; for the
# module they are only types.
MAY_NAME_TYPES_ABOVE = {"exceptions", "observer", "options"}

NOT_WITHOUT_IO = {
    "_thread", "asyncio", "concurrent", "datetime", "multiprocessing", "queue", "sched", "select",
    "selectors", "signal", "socket", "socketserver", "ssl", "subprocess", "threading", "time",
}  # fmt: skip


class Import(NamedTuple):
    line: int
    target: str
    """The dotted name of a module; within the package without the package's name."""
    internal: bool
    name: str | None
    """What is taken from the module, if that is not a module itself."""


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    return {
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }


def imports(root: Path, module: str) -> Iterator[Import]:
    path = modules(root)[module]
    tree = ast.parse(path.read_text())
    exempt = type_checking_only(tree) if module in MAY_NAME_TYPES_ABOVE else set()
    here = [] if module == "." else module.split(".")
    if path.name != "__init__.py":
        here = here[:-1]
    for node in ast.walk(tree):
        if node in exempt:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield resolve(root, node.lineno, alias.name.split("."), None)
        elif isinstance(node, ast.ImportFrom):
            start = [] if not node.level else [PACKAGE, *here[: len(here) + 1 - node.level]]
            base = start + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield resolve(root, node.lineno, base, alias.name)


def resolve(root: Path, line: int, base: list[str], name: str | None) -> Import:
    if base[0] != PACKAGE:
        return Import(line, ".".join(base), False, name)
    inside = ".".join(base[1:])
    if name is not None and (submodule := f"{inside}.{name}".lstrip(".")) in modules(root):
        return Import(line, submodule, True, None)
    return Import(line, inside or ".", True, name)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def complaints(root: Path, module: str) -> Iterator[str]:
    """Say what is wrong with the imports of *module*."""
    shelf = shelf_of(module)
    if shelf is None:
        yield f"{module} is on no shelf"
        return
    name = SHELVES[shelf][0]
    rules = ROOMS[name]
    for found in imports(root, module):
        where = f"{module}:{found.line} imports {found.target}"
        if not found.internal:
            top = found.target.split(".")[0]
            if top in sys.stdlib_module_names or top == "__future__":
                if rules.no_io and top in NOT_WITHOUT_IO:
                    yield f"{where}: {name} does no I/O and has no clock"
            elif top not in rules.libraries | LIBRARIES.get(module, set()):
                yield f"{where}: not a library of {name}"
            continue
        other = shelf_of(found.target)
        if other is None:
            yield f"{where}, which is on no shelf"
            continue
        other_name = SHELVES[other][0]
        if other > shelf:
            yield f"{where}: upwards"
        elif other_name != name and other_name not in rules.below:
            yield f"{where}: {name} does not know {other_name}"
        elif rules.public_only and other_name not in {name, "context"}:
            parts = [*found.target.split("."), found.name or ""]
            if any(is_private(part) for part in parts):
                yield f"{where} {found.name or ''}: not a public name"


def test_every_module_is_on_a_shelf_and_imports_downwards() -> None:
    assert [said for module in sorted(modules(ROOT)) for said in complaints(ROOT, module)] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module: {found.target for found in imports(ROOT, module) if found.internal}
        for module in modules(ROOT)
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(modules(ROOT)) <= set(order)


def test_nothing_awaits_where_there_is_no_io() -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    found = [
        f"{module}:{getattr(node, 'lineno', '?')}"
        for module, path in modules(ROOT).items()
        if (shelf := shelf_of(module)) is not None and ROOMS[SHELVES[shelf][0]].no_io
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, asynchronous)
    ]
    assert found == []


def test_compositions_touch_no_private_attribute_of_what_they_compose() -> None:
    found = [
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for module, path in modules(ROOT).items()
        if (shelf := shelf_of(module)) is not None and SHELVES[shelf][0] == "compositions"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    ]
    assert found == []


def test_the_package_itself_holds_names_and_no_logic() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    body = ast.parse(modules(ROOT)["."].read_text()).body
    assert isinstance(body[0], ast.Expr), "no docstring"
    assert [ast.unparse(node) for node in body[1:] if not isinstance(node, allowed)] == []


def test_importing_the_package_loads_no_backend() -> None:
    code = "import sys, anyio_ws; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(done.stdout.split())
    assert PACKAGE in loaded
    assert not loaded & {"trio", "uvloop", "anyio._backends._asyncio", "rich", "psutil"}
    assert not loaded & {"python_socks", "urllib.request"}
    assert not loaded & {"msgspec", "orjson", "pydantic"}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("novelty", "", "novelty is on no shelf"),
        ("exceptions", "import anyio", "imports anyio: not a library of exceptions"),
        ("exceptions", "from .sansio import frames", "imports sansio.frames: upwards"),
        ("sansio.uri", "def f():\n    import socket", "imports socket: sansio does no I/O"),
        ("sansio.frames", "from .messages import Text", "imports sansio.messages: upwards"),
        ("sansio.frames", "from anyio_ws import websocket", "imports websocket: upwards"),
        ("transports.tls", "from ..sansio import frames", "transports does not know sansio"),
        ("mux", "from anyio_ws.websocket import _Inbox", "_Inbox: not a public name"),
        ("mux", "from .transports import dial", "compositions does not know transports"),
        ("options", "import trio", "imports trio: not a library of websocket"),
    ],
)
def test_the_walk_sees(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    for name in {"sansio.frames", "sansio.messages", "websocket", "transports.dial", module}:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    tmp_path.joinpath(*module.split(".")).with_suffix(".py").write_text(source)
    (said,) = complaints(tmp_path, module)
    assert complaint in said
