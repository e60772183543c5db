"""Standard input and output without threads, and without a call that could wait in the kernel.

Pipes and terminals are waited for, and then read or written in small pieces. Regular files and the like
can't be waited for: the kernel answers at once.
"""

from __future__ import annotations

import os
import sys

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["read", "wait_writable", "write"]

READ = 2**16
"""Bytes to read at once."""

PIECE = 2**12
"""Bytes to write at once: what a pipe that is writable has room for on Linux, so that writing doesn't
wait (pipe(7))."""


async def read(descriptor: int) -> bytes:
    """Read what is there, after waiting for it; b"" at the end. Cancelling it loses nothing.

    :raises OSError: it can't be read
    """
    if sys.platform == "win32":
        # Only sockets can be waited for there. Cancelled, the thread stays until there is something.
        return await anyio.to_thread.run_sync(os.read, descriptor, READ, abandon_on_cancel=True)
    try:
        await anyio.wait_readable(descriptor)
    except PermissionError:  # epoll's word for what is always ready
        await checkpoint()
    return os.read(descriptor, READ)


async def wait_writable(descriptor: int) -> None:
    """Wait until something can be written; how much isn't said."""
    if sys.platform == "win32":
        return
    try:
        await anyio.wait_writable(descriptor)
    except PermissionError:
        await checkpoint()


async def write(descriptor: int, data: bytes) -> None:
    """Write it all. Cancelled, a part is written.

    :raises OSError: it can't be written; a `BrokenPipeError` where nobody reads any more
    """
    while data:
        await wait_writable(descriptor)
        data = data[os.write(descriptor, data[:PIECE]) :]
