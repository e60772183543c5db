"""A terminal with a shell in it, which is typed at, and read."""

from __future__ import annotations

import codecs
import errno
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..cli.terminal import OWN_THE_TERMINAL

READY = "\x1e"
"""The shell's prompt. No program of the tutorial writes such a character."""

BASH = shutil.which("bash")
"""The shell that readers have; None where there is none."""

KEYS = {"^C": "\x03", "^\\": "\x1c"}

# What runs in the background of a script, or by nohup, ignores signals, and so would all that it starts.
HEED_SIGNALS = (
    "import signal\n"
    "for number in signal.SIGINT, signal.SIGQUIT, signal.SIGHUP:\n"
    "    signal.signal(number, signal.SIG_DFL)\n"
)


class Shell:
    """One of the reader's terminals. It echoes nothing: what is read is what programs wrote."""

    def __init__(self, here: int) -> None:
        self.here = here
        self.output = ""
        """What was written since the last command was typed, or since the beginning."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def ready(self) -> bool:
        """Whether the command has ended, and the shell waits for another."""
        return self.output.endswith(READY)

    def type(self, command: str) -> None:
        assert self.ready
        self.output = ""
        self._write(command + "\n")

    def press(self, key: str) -> None:
        self._write(KEYS[key])

    def read(self) -> None:
        """Take what was written; it must be there."""
        try:
            chunk = os.read(self.here, 65536)
        except OSError as exc:
            if exc.errno != errno.EIO:  # how Linux says that nobody has the other end any more
                raise
            chunk = b""
        assert chunk, f"the shell has ended after\n{self.output}"
        self.output += self._decoder.decode(chunk).replace("\r", "")

    def _write(self, text: str) -> None:
        os.write(self.here, text.encode())


def wait_until(fulfilled: Callable[[], bool], shells: Collection[Shell], seconds: float) -> bool:
    """Read from all *shells* until *fulfilled*; whether that came in time."""
    deadline = time.monotonic() + seconds
    by_number = {shell.here: shell for shell in shells}
    while not fulfilled():
        left = deadline - time.monotonic()
        ready, _, _ = select.select(list(by_number), [], [], max(left, 0))
        if not ready:
            return False
        for number in ready:
            by_number[number].read()
    return True


@contextmanager
def shell(directory: Path, environment: Mapping[str, str]) -> Iterator[Shell]:
    """Open a terminal. What still runs in it when the block is left is killed."""
    here, there = pty.openpty()
    modes = termios.tcgetattr(there)
    # A key that is a signal would take along what was written and not read yet: the prompt after it, say.
    modes[3] = modes[3] & ~termios.ECHO | termios.NOFLSH
    termios.tcsetattr(there, termios.TCSANOW, modes)
    termios.tcsetwinsize(there, (24, 80))
    command = [BASH or "bash", "--norc", "--noprofile", "--noediting", "-i"]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HEED_SIGNALS + OWN_THE_TERMINAL, *command],
        cwd=directory,
        env={**environment, "PS1": READY},
        start_new_session=True,
        stdin=there,
        stdout=there,
        stderr=there,
    ) as process:
        os.close(there)
        try:
            yield Shell(here)
        finally:
            os.killpg(os.tcgetpgrp(here), signal.SIGKILL)
            process.kill()
            os.close(here)
