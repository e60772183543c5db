"""Which backend runs, and what is made for it."""

from __future__ import annotations

import sys

from .scheduling import AsyncioSignal, Pace, Signal, pace_of_asyncio

__all__ = ["current_pace", "new_signal", "on_trio"]


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


def current_pace() -> Pace:
    """Return the pace of the event loop that is running."""
    if on_trio():
        from .trio_scheduling import pace_of_trio

        return pace_of_trio()
    return pace_of_asyncio()
