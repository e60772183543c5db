"""A terminal to run a command in: a pseudo-terminal, and what would be seen on its screen."""

from __future__ import annotations

import codecs
import errno
import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from .helpers import ENVIRONMENT, PATIENCE, ROOT

UP, LEFT, CTRL_C, CTRL_D, CTRL_R = "\x1b[A", "\x1b[D", "\x03", "\x04", "\x12"

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[=>78]|\x1b\][^\x07]*\x07")


class Screen:
    """Characters at places, by the few sequences that a prompt is drawn with. It never scrolls."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._rest = ""
        self.stray: list[str] = []
        """Control characters that mean nothing here, and sequences."""

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._control(found[1] or "", found[2] or "")
                at = found.end()
                continue
            if text[at] == "\x1b" and len(text) - at < 16:  # the rest of it will come
                self._rest = text[at:]
                return
            self._put(text[at])
            at += 1

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._row += 1
        elif char == "\b":
            self._column = max(self._column - 1, 0)
        elif char < " " or char == "\x7f":
            self.stray.append(char)
        else:
            row = self._current()
            row[self._column : self._column + 1] = char
            self._column += 1

    def _current(self) -> list[str]:
        while len(self._rows) <= self._row:
            self._rows.append([])
        row = self._rows[self._row]
        row.extend(" " * (self._column - len(row)))
        return row

    def _control(self, parameters: str, final: str) -> None:
        number = int(parameters) if parameters.isdigit() else 0
        if final == "A":
            self._row = max(self._row - (number or 1), 0)
        elif final == "B":
            self._row += number or 1
        elif final == "C":
            self._column += number or 1
        elif final == "D":
            self._column = max(self._column - (number or 1), 0)
        elif final == "K" and not number:
            del self._current()[self._column :]
        elif final == "J" and not number:
            del self._current()[self._column :]
            del self._rows[self._row + 1 :]
        elif final not in "mhl":
            self.stray.append(parameters + final)

    @property
    def lines(self) -> list[str]:
        """The lines, without blanks at their ends."""
        return ["".join(row).rstrip() for row in self._rows]


class Terminal:
    """A command that runs in a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], here: int) -> None:
        self.process = process
        self.screen = Screen()
        self.output = ""
        """All that was written, with its sequences."""
        self._here = here
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def type(self, text: str) -> None:
        os.write(self._here, text.encode())

    def wait_for(self, *lines: str) -> list[str]:
        """Wait until each of *lines* can be seen; the whole screen."""
        self._wait(lambda: all(line in self.screen.lines for line in lines), lines)
        return self.screen.lines

    def wait_for_text(self, text: str) -> None:
        """Wait until *text* can be seen somewhere."""
        self._wait(lambda: any(text in line for line in self.screen.lines), text)

    def wait_for_more(self) -> None:
        """Wait until anything more was written."""
        assert self._read(), self.screen.lines

    def ended(self) -> int:
        """Wait until the command has ended; its exit code, below 0 if a signal killed it."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _wait(self, fulfilled: Callable[[], bool], what: object) -> None:
        while not fulfilled():
            assert self._read(), f"{what!r} isn't in {self.screen.lines}"

    def _read(self) -> bool:
        """Wait for something to be written, and take it; False at the end."""
        ready, _, _ = select.select([self._here], [], [], PATIENCE)
        assert ready, f"nothing happens after {self.screen.lines}"
        try:
            chunk = os.read(self._here, 65536)
        except OSError as exc:
            if exc.errno != errno.EIO:  # how Linux says that nobody has the other end any more
                raise
            chunk = b""
        text = self._decoder.decode(chunk)
        self.output += text
        self.screen.feed(text)
        return bool(chunk)


# Ctrl-C is a signal to those whose controlling terminal it was typed at.
OWN_THE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@contextmanager
def in_terminal(
    *command: str, environment: Mapping[str, str] | None = None, stdout: int | None = None
) -> Iterator[Terminal]:
    """Run a command in a terminal; kill it if the test didn't end it."""
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 80))
    try:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", OWN_THE_TERMINAL, *command],
            cwd=ROOT,
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            stdin=there,
            stdout=there if stdout is None else stdout,
            stderr=there,
        ) as process:
            os.close(there)
            there = -1
            try:
                yield Terminal(process, here)
            finally:
                process.kill()
    finally:
        os.close(here)
        if there >= 0:
            os.close(there)
