"""What tests of WebSocket programs are made of, on asyncio, uvloop and trio alike.

* :func:`memory_stream_pair`: two connected byte streams without a socket, as generous or as
  stubborn as a test needs.
* :class:`VirtualClockEventLoop` and :func:`virtual_clock_backend`: time that passes only when
  everybody waits for it.
* :func:`cancel_sweep`: cancel a piece of code at each of its suspensions in turn.

Nothing in the library imports this package, and importing it does not import trio. Nothing here
ever sleeps.
"""

from __future__ import annotations

from .clocks import VirtualClockEventLoop, virtual_clock_backend
from .streams import MemoryByteStream, memory_stream_pair
from .sweep import CancelAttempt, cancel_sweep

__all__ = [
    "CancelAttempt",
    "MemoryByteStream",
    "VirtualClockEventLoop",
    "cancel_sweep",
    "memory_stream_pair",
    "virtual_clock_backend",
]
