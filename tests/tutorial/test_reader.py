"""A reader that agrees with everything says nothing."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

pytest.importorskip("termios")

from . import pages
from .pages import Session, steps
from .reader import Reader
from .shell import BASH

pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


def session(*lines: str, terminal: str = "Terminal 1", any_order: bool = False) -> Session:
    return Session("here", terminal, lines, any_order)


def follow(directory: Path, *sessions: Session) -> None:
    Reader(directory, dict(os.environ)).follow(sessions)


@pytest.mark.parametrize(
    "lines",
    [
        ["$ echo a", "a"],
        ["$ printf 'a\\n\\nb\\nc\\n'", "a", "...", "c"],
        ["$ printf 'a1z\\n'", "a...z"],
        ["$ cd /", "$ pwd", "/"],
        ["$ echo a", "...", "$", "$ true"],
        # exec: a shell that is just starting a program may outlive the key.
        ["$ sh -c 'echo a; exec cat'", "a", "^C", "$ echo b", "b"],
        ["$ sh -c 'echo a; exec cat'", "a", "^\\", "Quit..."],
    ],
)
def test_what_is_as_shown_passes(tmp_path: Path, lines: list[str]) -> None:
    follow(tmp_path, session(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ["$ echo a", "b"],
        ["$ echo a"],
        ["$ true", "a"],
        ["$ printf 'a\\nb\\n'", "a"],
        ["$ printf 'a\\nb\\n'", "b"],
        ["$ printf 'a\\nb\\n'", "b", "..."],
        ["$ printf 'a\\nb\\n'", "b", "a"],
        ["$ printf 'a\\n'", "a...b"],
        ["$ echo a", "$"],
    ],
)
def test_what_is_not_as_shown_is_an_error(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(AssertionError, match="here shows in Terminal 1"):
        follow(tmp_path, session(*lines))


def test_what_still_runs_in_the_end_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    here = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        running = session("$ nohup sh -c 'exec > pipe; exec cat'", "nohup...", "never")
        with pytest.raises(AssertionError):
            Reader(tmp_path, dict(os.environ), patience=1).follow([running, session("...")])
        assert select.select([here], [], [], 10)[0]
        assert os.read(here, 1) == b""  # nobody has the other end any more
    finally:
        os.close(here)


def test_in_any_order_all_must_come(tmp_path: Path) -> None:
    follow(tmp_path, session("$ printf 'a\\nb\\nc\\n'", "c", "a", "...", any_order=True))
    with pytest.raises(AssertionError):
        follow(tmp_path, session("$ printf 'a\\nb\\nc\\n'", "c", "d", "...", any_order=True))


def test_terminals_run_side_by_side(tmp_path: Path) -> None:
    follow(
        tmp_path,
        session("$ mkfifo pipe; echo waiting; cat pipe", "waiting"),
        session("$ echo through > pipe", terminal="Terminal 2"),
        session("through", "$"),
    )


def test_ports_are_replaced_alike_everywhere(tmp_path: Path) -> None:
    follow(tmp_path, session("$ p=8000; [ $p != 80''00 ] && echo $p of 8000", "8000 of 8000"))


@pytest.mark.parametrize(
    "page",
    [
        ".. code-block:: python\n\n   print()\n",
        "Say this::\n\n   print()\n",
        "* In a list\n\n  .. code-block:: console\n",
        ".. literalinclude:: x.py\n   :caption: x.py\n   :lines: 3-5\n",
    ],
)
def test_what_a_reader_could_not_follow_is_an_error(
    tmp_path: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("page.rst").write_text(page)
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(pages, "FIRST_PAGE", tmp_path / "page.rst")
    with pytest.raises(ValueError, match=r"page\.rst:\d"):
        steps()
