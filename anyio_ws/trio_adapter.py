"""`byte_stream` with trio's methods and errors; imported only when that is asked for, for it imports trio."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from operator import index
from typing import Final, cast

import anyio
import trio
from anyio.abc import ByteStream

__all__ = ["HalfCloseableTrioStream", "TrioStream"]

RECEIVE_SIZE: Final = 2**16
"""Bytes that are returned at most where no number is given."""


@contextmanager
def _errors_of_trio() -> Generator[None]:
    try:
        yield
    except anyio.ClosedResourceError as exc:
        raise trio.ClosedResourceError(str(exc)) from exc
    except anyio.BrokenResourceError as exc:
        raise trio.BrokenResourceError(str(exc)) from exc
    except anyio.BusyResourceError as exc:
        raise trio.BusyResourceError(str(exc)) from exc


class TrioStream(trio.abc.Stream):
    """See `trio_stream`."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with _errors_of_trio():
            await self._stream.send(cast(bytes, data))  # it takes all three

    async def wait_send_all_might_not_block(self) -> None:
        # It may return early and mustn't late: sending nothing checks what there is to be checked.
        await self.send_all(b"")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        with _errors_of_trio():
            try:
                return await self._stream.receive(
                    RECEIVE_SIZE if max_bytes is None else index(max_bytes)
                )
            except anyio.EndOfStream:
                return b""

    async def aclose(self) -> None:
        await self._stream.aclose()


class HalfCloseableTrioStream(TrioStream, trio.abc.HalfCloseableStream):
    """See `trio_stream`."""

    async def send_eof(self) -> None:
        with _errors_of_trio():
            await self._stream.send_eof()
