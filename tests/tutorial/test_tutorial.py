"""The tutorial is followed to the letter: each file is written, each command typed, each output compared."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

pytest.importorskip("termios")

from .pages import DOCS, File, Session, steps
from .reader import follow
from .shell import BASH


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.timeout(240)  # most of it installs
def test_a_reader_gets_what_the_pages_show(tmp_path: Path) -> None:
    follow(steps(), tmp_path)


def files() -> list[File]:
    return [step for step in steps() if isinstance(step, File)]


def test_every_file_is_shown() -> None:
    there = sorted(DOCS.joinpath("tutorial").rglob("*.py"))
    assert sorted(file.source for file in files()) == there
    assert [file.name for file in files()] == [file.source.name for file in files()]


def test_the_marked_lines_are_those_that_have_changed() -> None:
    before: dict[str, list[str]] = {}
    for file in files():
        lines = file.source.read_text().splitlines()
        blank = {number for number, line in enumerate(lines, 1) if not line}
        assert file.emphasized - blank == changed(before.get(file.name), lines) - blank, file.where
        before[file.name] = lines


def changed(old: list[str] | None, new: list[str]) -> set[int]:
    """The numbers of lines that aren't in the old version."""
    if old is None:
        return set()
    found: set[int] = set()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, _, _, begin, end in matcher.get_opcodes():
        if kind != "equal":
            found.update(range(begin + 1, end + 1))
    return found


def test_sessions_say_in_which_terminal() -> None:
    terminals = [step.terminal for step in steps() if isinstance(step, Session)]
    assert set(terminals) == {f"Terminal {number}" for number in range(1, 5)}
