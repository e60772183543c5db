"""The tutorial's pages, taken apart: what a reader is to write and to type, and what it says comes of it.

Nothing that a reader sees as code is left out: what isn't understood here is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

DOCS = Path(__file__).parents[2] / "docs"
FIRST_PAGE = DOCS / "tutorial.rst"

PROMPT = "$"

_DIRECTIVE = re.compile(r"\.\. (code-block|literalinclude|toctree|currentmodule):: ?(.*)")
_MARKUP = re.compile(r"^\s*\.\. |::$")
_OPTION = re.compile(r"   :([a-z-]+): ?(.*)")


@dataclass(frozen=True, slots=True)
class File:
    """A file to write."""

    where: str
    name: str
    source: Path
    emphasized: frozenset[int]
    """Numbers of the lines that are marked as changed."""


@dataclass(frozen=True, slots=True)
class Session:
    """A piece of what is to be seen in one terminal: commands after a prompt, keys, and output."""

    where: str
    terminal: str
    lines: tuple[str, ...]
    any_order: bool
    """Whether the output may come in another order."""

    @property
    def begins_with_prompt(self) -> bool:
        return self.lines[0].startswith(PROMPT)


Step: TypeAlias = File | Session


@dataclass(frozen=True, slots=True)
class _Directive:
    where: str
    kind: str
    argument: str
    options: dict[str, str]
    content: tuple[str, ...]


def steps() -> list[Step]:
    """All steps, in the order in which they are read."""
    return list(_steps(FIRST_PAGE))


def _steps(page: Path) -> Iterator[Step]:
    for directive in _directives(page):
        if directive.kind == "toctree":
            for name in directive.content:
                yield from _steps((page.parent / name).with_suffix(".rst"))
        elif directive.kind == "literalinclude":
            yield _file(page, directive)
        elif directive.kind == "code-block":
            yield _session(directive)


def _file(page: Path, directive: _Directive) -> File:
    if unknown := directive.options.keys() - {"caption", "emphasize-lines"}:
        raise ValueError(f"{directive.where}: a file is shown whole, without {unknown}")
    return File(
        directive.where,
        directive.options["caption"],
        page.parent / directive.argument,
        frozenset(_numbers(directive.options.get("emphasize-lines", ""))),
    )


def _session(directive: _Directive) -> Session:
    if directive.argument != "console":
        raise ValueError(f"{directive.where}: {directive.argument} that nobody would run")
    if directive.options.keys() - {"caption", "class"}:
        raise ValueError(f"{directive.where}: what are these options? {directive.options}")
    return Session(
        directive.where,
        directive.options["caption"],
        directive.content,
        directive.options.get("class") == "any-order",
    )


def _numbers(ranges: str) -> Iterator[int]:
    for one in filter(None, ranges.split(",")):
        first, _, last = one.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _directives(page: Path) -> Iterator[_Directive]:
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        where = f"{page.relative_to(DOCS.parent)}:{number + 1}"
        found = _DIRECTIVE.fullmatch(lines[number])
        if found is None and _MARKUP.search(lines[number]):
            raise ValueError(f"{where}: what is this? {lines[number]}")
        number += 1
        if found is None:
            continue
        options: dict[str, str] = {}
        while number < len(lines) and (option := _OPTION.fullmatch(lines[number])):
            options[option[1]] = option[2]
            number += 1
        content: list[str] = []
        while number < len(lines) and (not lines[number] or lines[number].startswith("   ")):
            content.append(lines[number][3:])
            number += 1
        # Blank lines aren't compared: see `Command`.
        yield _Directive(where, found[1], found[2], options, tuple(filter(None, content)))
