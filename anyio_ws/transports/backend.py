"""Which backend runs, and what is made for it."""

from __future__ import annotations

import sys

from .scheduling import AsyncioPace, AsyncioSignal, Pace, Signal

__all__ = ["new_pace", "new_signal", "on_trio"]


def on_trio() -> bool:
    """Whether trio runs this code, and not asyncio."""
    trio = sys.modules.get("trio")  # where it wasn't imported, it doesn't run
    return trio is not None and trio.lowlevel.in_trio_task()


def new_signal() -> Signal:
    """Make a signal for the backend that is running."""
    if on_trio():
        from .trio_scheduling import TrioSignal  # which imports trio

        return TrioSignal()
    return AsyncioSignal()


def new_pace() -> Pace:
    """Make a pace for the backend that is running."""
    if on_trio():
        from .trio_scheduling import TrioPace

        return TrioPace()
    return AsyncioPace()
