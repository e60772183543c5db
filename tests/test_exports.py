"""What is public is listed, documented and explained: three places that must agree."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

PUBLIC_MODULES = ["anyio_ws", "anyio_ws.events", "anyio_ws.sansio", "anyio_ws.testing"]

# A module with code has names that it only uses; the others consist of what they export.
WITH_CODE = {"anyio_ws.events"}

REFERENCE = Path(__file__).parent.parent / "docs" / "reference.rst"


def documented() -> dict[str, list[str]]:
    """Read the names off the API page, by module."""
    found: dict[str, list[str]] = {}
    module = ""
    for line in REFERENCE.read_text().splitlines():
        if match := re.match(r"\.\. (?:py:)?(?:current)?module:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"\.\. auto(?:class|exception|function|data):: (\w+)", line):
            found.setdefault(module, []).append(match[1])
    return found


def public_objects(module: str) -> Iterator[tuple[str, object]]:
    """Give the classes and functions of *module*'s ``__all__``, and what these classes define."""
    namespace = importlib.import_module(module)
    for name in namespace.__all__:
        value = getattr(namespace, name)
        if not inspect.isclass(value):
            if inspect.isroutine(value):
                yield name, value
            continue
        yield name, value
        for attribute, member in vars(value).items():
            function = getattr(member, "__func__", member)  # class and static methods
            if not attribute.startswith("_") and (
                inspect.isfunction(function) or isinstance(function, property)
            ):
                yield f"{name}.{attribute}", getattr(value, attribute)


def is_written(name: str, value: object) -> bool:
    """Tell a docstring that somebody wrote from none, and from what a dataclass makes."""
    if not inspect.isclass(value):
        return bool(inspect.getdoc(value))  # a method may leave it to the interface it implements
    doc = value.__doc__ or ""
    return bool(doc) and not doc.startswith((f"{name}(", "An enumeration.", "Create a collection"))


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_all_names_exist_once_and_are_not_private(module: str) -> None:
    namespace = importlib.import_module(module)
    names = namespace.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(namespace, name)] == []
    assert [name for name in names if name.startswith("_")] == []


@pytest.mark.parametrize("module", [name for name in PUBLIC_MODULES if name not in WITH_CODE])
def test_all_is_everything_that_can_be_imported(module: str) -> None:
    namespace = importlib.import_module(module)
    importable = {
        name
        for name, value in vars(namespace).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and name != "annotations"
    }
    assert set(namespace.__all__) == importable


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_the_reference_documents_exactly_what_is_public(module: str) -> None:
    public = set(importlib.import_module(module).__all__)
    if module == "anyio_ws":  # what it has from the protocol is documented there
        public -= set(importlib.import_module("anyio_ws.sansio").__all__)
    names = documented().get(module, [])
    assert sorted(names) == sorted(public)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_object_has_a_docstring(module: str) -> None:
    assert [name for name, value in public_objects(module) if not is_written(name, value)] == []


def test_every_module_that_the_reference_names_is_checked() -> None:
    assert set(documented()) == set(PUBLIC_MODULES)
