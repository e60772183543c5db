"""Somebody who does what the tutorial says, and compares what is seen with what it shows.

The reader starts in a directory that has a clone of the repository and nothing else. Each terminal of the
pages is a terminal here, with a shell. A command has to end, and its output to be what the pages show,
before the next one is typed in the same terminal. One that goes on is one whose terminal is shown again
later without a prompt in the first line: with a key, with more output, or with a prompt after that.

What is compared: lines that aren't blank. A line ``...`` stands for any number of lines, ``...`` within a
line for anything. In a block of class ``any-order`` each line must come, and others may.

Ports. The pages have fixed ones, which others on this machine may have: each 80xx, in files, commands and
output, is replaced by one that is free, and that is outside of the range from which systems take ports when
any will do.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..conftest import SET_ASIDE
from .pages import DOCS, PROMPT, File, Session, Step
from .shell import KEYS, READY, Shell, shell, wait_until

CLONE = "anyio-ws"
DIRECTORY = "tutorial"
"""Where the reader writes files."""

COMMAND = 150
"""Seconds for a command that ends by itself: one of them installs."""

_GAP = r"(?:.*\n)*?"
_PORT = re.compile(r"\b80\d\d\b")


class Command:
    """What a terminal has to show until the next command is typed there."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._pattern = ""

    def expect(self, line: str) -> None:
        """After what is expected already, *line*."""
        self._pattern += _GAP if line == "..." else _line(line)

    def expect_all(self, lines: Sequence[str]) -> None:
        """After what is expected already, *lines* in any order and others between them."""
        self._pattern += "".join(f"(?={_GAP}{_line(line)})" for line in lines) + _GAP

    @property
    def seen(self) -> bool:
        """Whether what is expected is there; more may be."""
        return re.match(self._pattern, self._output) is not None

    @property
    def complete(self) -> bool:
        """Whether what is expected is all there is."""
        return re.fullmatch(self._pattern, self._output) is not None

    @property
    def _output(self) -> str:
        lines = self._shell.output.removesuffix(READY).split("\n")
        if not self._shell.ready:
            del lines[-1]  # the rest of it will come
        return "".join(f"{line}\n" for line in lines if line)


def _line(line: str) -> str:
    return ".*".join(map(re.escape, line.split("..."))) + "\n"


class Reader:
    """Follows the tutorial in *directory*; waits *patience* seconds for what should happen at once."""

    def __init__(
        self, directory: Path, environment: dict[str, str], *, patience: float = 30
    ) -> None:
        self._directory = directory
        self._patience = patience
        self._environment = environment
        self._ports: dict[str, str] = {}
        self._shells: dict[str, Shell] = {}
        self._commands: dict[str, Command] = {}
        self._stack = ExitStack()

    def follow(self, steps: Sequence[Step]) -> None:
        """Do all of it.

        :raises AssertionError: what is seen isn't what the pages show
        """
        with self._stack:
            for number, step in enumerate(steps):
                if isinstance(step, File):
                    content = self._with_our_ports(step.source.read_text())
                    (self._directory / DIRECTORY / step.name).write_text(content)
                else:
                    self._go_through(step, ends=_has_ended(step.terminal, steps[number + 1 :]))

    def _go_through(self, session: Session, *, ends: bool) -> None:
        if session.terminal not in self._shells:
            opened = self._stack.enter_context(shell(self._directory, self._environment))
            self._shells[session.terminal] = opened
            self._commands[session.terminal] = Command(opened)
        terminal = self._shells[session.terminal]
        unordered: list[str] = []
        for given in session.lines:
            line = self._with_our_ports(given)
            if line.startswith(PROMPT):
                self._wait_for_end(session)
                if line != PROMPT:
                    self._commands[session.terminal] = Command(terminal)
                    terminal.type(line.removeprefix(PROMPT).strip())
            elif line in KEYS:
                self._wait_for_output(session)
                terminal.press(line)
            elif not session.any_order:
                self._commands[session.terminal].expect(line)
            elif line != "...":
                unordered.append(line)
        if unordered:
            self._commands[session.terminal].expect_all(unordered)
        if ends:
            self._wait_for_end(session)
        else:
            self._wait_for_output(session)

    def _wait_for_output(self, session: Session) -> None:
        command, terminal = self._commands[session.terminal], self._shells[session.terminal]
        wait_until(lambda: command.seen or terminal.ready, self._shells.values(), self._patience)
        self._check(session, command.seen)

    def _wait_for_end(self, session: Session) -> None:
        command, terminal = self._commands[session.terminal], self._shells[session.terminal]
        ended = wait_until(lambda: terminal.ready, self._shells.values(), COMMAND)
        self._check(session, ended and command.complete)

    def _check(self, session: Session, right: bool) -> None:
        if not right:
            shown = "\n".join(session.lines)
            seen = "\n".join(
                f"-- {name}\n{one.output.rstrip(READY)}" for name, one in self._shells.items()
            )
            raise AssertionError(
                f"{session.where} shows in {session.terminal}\n{shown}\nand there is\n{seen}"
            )

    def _with_our_ports(self, text: str) -> str:
        return _PORT.sub(lambda found: self._port(found[0]), text)

    def _port(self, shown: str) -> str:
        if shown not in self._ports:
            self._ports[shown] = _free_port(self._ports.values())
        return self._ports[shown]


def _has_ended(terminal: str, later: Sequence[Step]) -> bool:
    """Whether a command in *terminal* has to end by itself: it isn't shown later that it still runs."""
    for step in later:
        if isinstance(step, Session) and step.terminal == terminal:
            return step.begins_with_prompt
    return True


def _free_port(taken: Collection[str]) -> str:
    choose = random.SystemRandom()  # not what another process with the same seed chooses
    while True:
        port = choose.randrange(20_000, 32_000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        if str(port) not in taken:
            return str(port)


def environment(directory: Path) -> dict[str, str]:
    """That of a reader, who has this Python as ``python3`` and knows nothing of what it has installed."""
    programs = directory / "bin"
    programs.mkdir()
    # Not a link: a linked interpreter wouldn't find its own prefix.
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python3").chmod(0o755)
    kept = {
        name.removesuffix(SET_ASIDE): value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST_", "COV_")) and name != "VIRTUAL_ENV"
    }
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",  # what it warns of has to do with this machine; errors it still shows
        "NO_COLOR": "1",
        "TERM": "xterm",
    }


def clone(directory: Path) -> None:
    """Copy the checkout, without what tools left in it."""
    left_out = shutil.ignore_patterns(
        ".*", "*.so", "*.egg-info", "build", "dist", "_build", "__pycache__"
    )
    shutil.copytree(DOCS.parent, directory / CLONE, ignore=left_out)


def follow(steps: Sequence[Step], directory: Path) -> None:
    """Follow the tutorial in *directory*, which is empty.

    :raises AssertionError: what is seen isn't what the pages show
    """
    clone(directory)
    Reader(directory, environment(directory)).follow(steps)
