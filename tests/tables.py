"""The tables of the documentation that set what others have beside our names and the tests that show it.

They have three columns, the last of which is "Test". What is in the second is held to be ours, and looked up.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import keyword
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from anyio.streams.tls import TLSAttribute

from anyio_ws import LowLevel, Mux, Request, Response, WebSocket, WebSocketServer, events
from anyio_ws.sansio import ServerProtocol

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
PAGES = [*sorted(DOCS.joinpath("coming-from").glob("*.rst")), DOCS / "features.rst"]

PUBLIC_MODULES = ["anyio_ws", "anyio_ws.events", "anyio_ws.sansio", "anyio_ws.testing"]

# What the examples in the tables call things.
EXAMPLES: dict[str, type] = {
    "ws": WebSocket,
    "server": WebSocketServer,
    "merged": Mux,
    "event": events.Text,
    "protocol": ServerProtocol,
    "TLSAttribute": TLSAttribute,
    "request": Request,
    "response": Response,
    "lowlevel": LowLevel,
}
WORDS = {
    *("attempt", "attribute", "basicConfig", "context", "error", "frame", "getLogger", "https"),
    *(
        "load_cert_chain",
        "message",
        "nursery",
        "partial",
        "setLevel",
        "socks",
        "start",
        "startswith",
    ),
    *("Trade", "wss", "__cause__"),
}


class Row(NamedTuple):
    page: str
    module: str
    cells: list[str]


def rows() -> Iterator[Row]:
    """Read the tables of all pages."""
    for page in PAGES:
        module = "anyio_ws"
        for block in re.split(r"\n(?=\S)", page.read_text()):
            if match := re.match(r"\.\. currentmodule:: (\S+)", block):
                module = match[1]
            elif block.startswith(".. list-table::"):
                found = [
                    [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.M)]
                    for row in re.split(r"^   \* - ", block, flags=re.M)[1:]
                ]
                if found[0][-1] == "Test":
                    for cells in found[1:]:
                        yield Row(page.stem, module, cells)


def tests_of(row: Row) -> list[str]:
    return re.findall(r"``([^`]+)``", row.cells[2])


def is_test(name: str) -> bool:
    """Whether there is such a test: a file, or one in a file, as pytest is told it."""
    file, *path = name.split("::")
    if not TESTS.joinpath(file).is_file():
        return False
    body = _tree(TESTS / file).body
    for part in path:
        found = next((node for node in body if getattr(node, "name", None) == part), None)
        body = getattr(found, "body", [])
    return bool(body)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def unknown_names(row: Row) -> list[str]:
    """What the second column calls ours, and isn't."""
    cell = row.cells[1]
    literals = re.findall(r"``(.+?)``", cell)
    roles = re.findall(r"(?<![`:\w])`([^`<]+?)(?: <([^`>]+)>)?`", re.sub(r"``.+?``", "", cell))
    unknown = [
        name for label, target in roles if not _resolves(name := target or label, row.module)
    ]
    for literal in literals:
        if literal.startswith(("-", "anyio-ws")):
            unknown += [word for word in literal.split() if word not in _command_line()]
        else:
            given = set(re.findall(r"(\w+)=(?!=)", _without_strings(literal)))
            unknown += sorted(given - _options())
            unknown += [
                word for word in _words(literal) if word not in given and not _is_known(word)
            ]
    return unknown


def _without_strings(literal: str) -> str:
    return re.sub(r"\"[^\"]*\"|ws\+unix:\S*|wss?://\S*", "", literal)


def _words(literal: str) -> list[str]:
    found = re.findall(r"[A-Za-z_][\w.]*", _without_strings(literal))
    return [word.strip(".") for word in found]


@cache
def _options() -> set[str]:
    """What can be given by keyword, here or to a function of the standard library that is mentioned."""
    names = {"cafile"}
    for module in map(importlib.import_module, PUBLIC_MODULES):
        for value in vars(module).values():
            names |= _parameters(value)
            if isinstance(value, type):
                names |= {name for one in vars(value).values() for name in _parameters(one)}
    return names


@cache
def _command_line() -> set[str]:
    text = "".join(path.read_text() for path in DOCS.joinpath("howto").glob("*-help.txt"))
    return {*re.findall(r"--?[\w-]+", text), "-vv", "anyio-ws", "connect", "ping", "serve", "demo"}


def _resolves(name: str, module: str) -> bool:
    for start in (module, "anyio_ws", ""):
        parts = [*start.split("."), *name.split(".")] if start else name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                value: object = importlib.import_module(".".join(parts[:cut]))
            except ImportError:
                continue
            if _has_path(value, parts[cut:]):
                return True
            break
    return name in dir(builtins)


def _has_path(value: object, path: list[str]) -> bool:
    for part in path:
        if not _has(value, part):
            return False
        value = getattr(value, part, None) or EXAMPLES.get(part)
        if isinstance(value, property):
            value = EXAMPLES.get(part)
        if value is None:
            return True  # an attribute of which no more is known
    return True


def _has(value: object, name: str) -> bool:
    if hasattr(value, name):
        return True
    return isinstance(value, type) and name in _instance_attributes(value)


@cache
def _instance_attributes(cls: type) -> set[str]:
    """What methods assign to ``self``, and what dataclasses declare."""
    names: set[str] = set()
    for one in cls.__mro__:
        names |= set(getattr(one, "__annotations__", ()))
        if one.__module__.startswith("anyio_ws"):
            names |= set(re.findall(r"self\.([a-z]\w*)\s*[:=]", inspect.getsource(one)))
    return names


def _is_known(word: str) -> bool:
    first, *rest = word.split(".")
    if first in EXAMPLES and rest:
        return _has_path(EXAMPLES[first], rest)
    if keyword.iskeyword(word) or keyword.issoftkeyword(word) or word in dir(builtins):
        return True
    return (
        word in _vocabulary()
        or all(part in WORDS for part in word.split("."))
        or _resolves(word, "anyio_ws")
    )


@cache
def _vocabulary() -> set[str]:
    """Every public name, what public classes have, and what can be given to all of them."""
    words = {*WORDS, *EXAMPLES}
    for module in map(importlib.import_module, PUBLIC_MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            words |= {name, *_parameters(value)}
            if isinstance(value, type):
                words |= {one for one in dir(value) if not one.startswith("_")}
                words |= _instance_attributes(value)
                words |= {f"{name}.{one}" for one in (*dir(value), *_instance_attributes(value))}
                for one in vars(value).values():
                    words |= _parameters(one)
    return words


def _parameters(value: object) -> set[str]:
    try:
        return set(inspect.signature(value).parameters)  # type: ignore[arg-type]  # or else it says so
    except (TypeError, ValueError):
        return set()
