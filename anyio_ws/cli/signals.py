"""Signals that come while a command starts wait until it listens for them.

A KeyboardInterrupt would be worse. It can come in the middle of an import, and out of a task group
as an ExceptionGroup; and once it has passed through code that was made by `exec`, as dataclasses
and named tuples are, CPython ends the process by SIGINT even if it is caught.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import anyio

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Generator[None, None, None]:
    """Let the signals that end us wait, until `release` is called or the block is left.

    Windows can't: there Ctrl-C is a KeyboardInterrupt, as ever.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Let them through, those first that came meanwhile."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def awaited(backend: str) -> tuple[signal.Signals, ...]:
    """Return those that a program on ``backend`` can wait for."""
    # On Windows asyncio can't; there Ctrl-C comes as a KeyboardInterrupt.
    return () if (sys.platform, backend) == ("win32", "asyncio") else ENDING


async def cancel_at_signal(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope
) -> None:
    """Cancel ``scope`` when the next of the signals comes."""
    await anext(signals)
    scope.cancel()
