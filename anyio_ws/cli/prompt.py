"""A prompt to type lines at: they can be edited, earlier ones are found again, and what arrives meanwhile
is written above it. All of it is prompt_toolkit's, which runs on asyncio only.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import anyio
from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from anyio_ws.cli.shown import visible

__all__ = ["Prompt", "history_file"]

MARK = "> "

WAITING = 100
"""Lines that may wait to be sent. Then Enter does nothing."""

KEPT = 2**20
"""Bytes of history that may be in the file when we begin: of more, the older half goes."""


def history_file() -> Path:
    """Where lines are kept from one time to the next."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home()
    else:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "anyio-ws" / "history"


class Interrupted(Exception):
    """Ctrl-C was typed."""


class _History(FileHistory):
    """Lines in a file that only its owner may read; those that begin with a blank aren't kept there."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        super().__init__(path)
        self._complain = complain

    def store_string(self, string: str) -> None:
        if string.startswith(" "):
            return
        try:
            super().store_string(string)
        except OSError as exc:  # the disk is full, say
            self._complain(f"the history isn't kept: {exc.strerror or exc}")


def _open_history(path: Path, complain: Callable[[str], None]) -> History:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        _shorten(path)
    except OSError as exc:
        complain(f"the history isn't kept: {exc.strerror or exc}")
        return InMemoryHistory()
    return _History(path, complain)


def _shorten(path: Path) -> None:
    if path.stat().st_size > KEPT:
        newer = path.read_bytes()[-KEPT // 2 :]
        path.write_bytes(newer[max(newer.find(b"\n# "), 0) :])  # from the beginning of an entry


class Prompt:
    """A place to type at. It stands there from the first line to the last: while it is away, what is typed
    would be the terminal's to show, and to understand.
    """

    def __init__(self, *, history: Path | None, complain: Callable[[str], None]) -> None:
        """:param history: the file that earlier lines are in; None to neither read nor keep any"""
        # Asking the terminal where its cursor is serves menus only, and not every terminal answers.
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")
        self._session: PromptSession[str] = PromptSession(
            MARK,
            history=InMemoryHistory() if history is None else _open_history(history, complain),
            enable_suspend=True,
            interrupt_exception=Interrupted,
        )
        self._session.default_buffer.accept_handler = self._accept
        self._lines: deque[str] = deque()  # typed, and not taken yet
        self._changed = anyio.Event()
        self._ended = False
        self._over = anyio.Event()

    async def run(self, interrupt: Callable[[], None]) -> None:
        """Let lines be typed until Ctrl-D, or `end`; and until Ctrl-C, which calls *interrupt*."""
        try:
            if not self._ended:
                # An error is ours to show, and a signal ours to wait for.
                await self._session.prompt_async(set_exception_handler=False, handle_sigint=False)
        except EOFError:
            pass
        except Interrupted:
            interrupt()
        finally:
            self._over.set()
            self._changed.set()

    async def end(self) -> None:
        """Take the prompt away for good."""
        self._ended = True
        if self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(exception=EOFError)
        await self._over.wait()

    def _accept(self, buffer: Buffer) -> bool:
        """Enter was typed; return whether the text is to stay where it is."""
        if len(self._lines) >= WAITING:
            return True
        self._lines.append(buffer.text)
        self._changed.set()
        shown = visible(buffer.text, besides="\n\t").replace("\n", "\n  ")
        self.show(lambda: print(f"{MARK}{shown}", flush=True))
        return False

    @property
    def waiting(self) -> int:
        """Lines that were typed, and not taken yet."""
        return len(self._lines)

    async def next_line(self) -> bytes | None:
        """Wait for a line to be typed; None at the end."""
        while not self._lines:
            if self._over.is_set():
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        return self._lines.popleft().encode(errors="surrogateescape")

    def show(self, write: Callable[[], None]) -> None:
        """Call *write*, which writes whole lines to the terminal: they stand above the prompt."""
        # Not prompt_toolkit's in_terminal(): that leaves typing to the terminal for the while, which
        # shows a key as ^A, and takes Ctrl-D for itself.
        app = self._session.app
        if not app.is_running:
            write()
            return
        app.renderer.erase()
        try:
            write()
        finally:
            app.renderer.reset()
            app.invalidate()
