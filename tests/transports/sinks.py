"""A sink for tests that are about something else than the contract, and the ends of connections."""

from __future__ import annotations

import socket

import anyio

from anyio_ws.transports.base import Transport

from .kinds import PATIENCE


class QuietSink:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.received = b""
        self.cause: Exception | None = None
        self.lost = False
        self._changed = anyio.Event()

    def data_received(self, chunk: bytes | memoryview) -> None:
        self.received += chunk
        self._wake()

    def eof_received(self) -> None:
        self._wake()

    def writable(self) -> None:
        self._wake()

    def output_lost(self, cause: Exception) -> None:
        self._wake()

    def alarm(self) -> None:
        self._wake()

    def connection_lost(self, cause: Exception | None) -> None:
        self.lost = True
        self.cause = cause
        self._wake()

    async def until_received(self, data: bytes) -> None:
        with anyio.fail_after(PATIENCE):
            while self.received != data:
                await self._changed.wait()

    async def until_lost(self) -> None:
        with anyio.fail_after(PATIENCE):
            while not self.lost:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def end(transport: Transport) -> None:
    """Abort a transport that wasn't started yet, and wait until it's over."""
    sink = QuietSink()
    transport.start(sink)
    transport.abort()
    if transport.has_to_run:
        await transport.run()
    await sink.until_lost()


async def check_moves_bytes(transport: Transport, other: socket.socket) -> None:
    """Send something to and fro, and end the connection. *other* is the other end's, non-blocking."""
    sink = QuietSink()
    async with anyio.create_task_group() as tasks:
        transport.start(sink)
        if transport.has_to_run:
            tasks.start_soon(transport.run)
        transport.write(b"from here")
        with anyio.fail_after(PATIENCE):
            await anyio.wait_readable(other)
        assert other.recv(100) == b"from here"
        other.send(b"from there")
        await sink.until_received(b"from there")
        transport.abort()
        await sink.until_lost()
    assert sink.cause is None
