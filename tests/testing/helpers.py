"""What the tests of the test kit share."""

from __future__ import annotations

import anyio.abc
from anyio.lowlevel import checkpoint


async def settle() -> None:
    """Let every other task run until it waits; nothing here waits for anything but other tasks."""
    for _ in range(20):
        await checkpoint()


async def receive_all(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def send_and_end(stream: anyio.abc.ByteStream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()
