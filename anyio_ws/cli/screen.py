"""What a user sees: standard output and standard error, above the prompt where there is one."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from anyio_ws.cli.descriptors import wait_writable, write

__all__ = ["PromptLike", "Screen"]

STDOUT = 1


class PromptLike(Protocol):
    """A prompt, which is there if prompt_toolkit is: see `anyio_ws.cli.prompt`."""

    async def run(self, interrupt: Callable[[], None]) -> None:
        """Let lines be typed."""
        ...

    async def end(self) -> None:
        """Take the prompt away for good."""
        ...

    @property
    def waiting(self) -> int:
        """Lines that were typed, and not taken yet."""
        ...

    async def next_line(self) -> bytes | None:
        """Wait for a line to be typed; None at the end."""
        ...

    def show(self, write: Callable[[], None]) -> None:
        """Call *write*, which writes to the terminal, above the prompt."""
        ...


class Screen:
    """Where messages go, which is the standard output, and remarks, which is the standard error."""

    def __init__(self) -> None:
        self._prompt: PromptLike | None = None

    def set_prompt(self, prompt: PromptLike) -> None:
        """From now on there is a prompt; the log goes above it as well."""
        self._prompt = prompt
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                cast("logging.StreamHandler[Screen]", handler).setStream(self)

    def say(self, remark: str) -> None:
        """Make a remark, of one line or several."""
        self.write(remark + "\n")

    def write(self, text: str) -> None:
        """Write lines to the standard error, as logging does."""
        if self._prompt is None:
            _write_error(text)
        else:
            self._prompt.show(partial(_write_error, text))

    async def show(self, data: bytes) -> None:
        """Write to the standard output, after waiting until it can take something.

        :raises OSError: it can't be written to
        """
        if self._prompt is None:
            await write(STDOUT, data)
            return
        # A terminal that can take something takes a message: nothing may come between its pieces.
        await wait_writable(STDOUT)
        self._prompt.show(partial(_write_all, data))


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(STDOUT, data) :]


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody is there to be told
