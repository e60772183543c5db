"""What tests of WebSocket programs are made of, on asyncio, uvloop and trio alike.

* :func:`serve_in_memory`: a server without a network, which :func:`anyio_ws.open_websocket` finds by its URL.
* :func:`scripted_server`: the same, each of whose connections is a :class:`ScriptedPeer`.
* :func:`memory_stream_pair`: two connected byte streams without a socket, as generous or as
  stubborn as a test needs.
* :class:`VirtualClockEventLoop` and :func:`virtual_clock_backend`: time that passes only when
  everybody waits for it.
* :func:`cancel_sweep`: cancel a piece of code at each of its suspensions in turn.
* :class:`ScriptedPeer`: the other end of a connection, spoken by hand, well or badly; with
  :class:`RawFrame`, :func:`handshake_request` and :func:`handshake_response`, which owe nothing to
  the library's own protocol.

With pytest, the fixture ``anyio_ws_virtual_time`` of the plugin ``anyio_ws_pytest`` runs a test on virtual
time.

Nothing in the library imports this package, and importing it does not import trio. Nothing here
sleeps, except where a test has asked for a delay.
"""

from __future__ import annotations

from .clocks import VirtualClockEventLoop, virtual_clock_backend
from .peer import ScriptedPeer
from .scripted import scripted_server
from .serving import MemoryServer, serve_in_memory
from .streams import MemoryByteStream, memory_stream_pair
from .sweep import CancelAttempt, cancel_sweep
from .wire import RawFrame, handshake_request, handshake_response

__all__ = [
    "CancelAttempt",
    "MemoryByteStream",
    "MemoryServer",
    "RawFrame",
    "ScriptedPeer",
    "VirtualClockEventLoop",
    "cancel_sweep",
    "handshake_request",
    "handshake_response",
    "memory_stream_pair",
    "scripted_server",
    "serve_in_memory",
    "virtual_clock_backend",
]
