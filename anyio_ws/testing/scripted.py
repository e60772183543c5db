"""A server that is spoken by hand, well or badly: `scripted_server`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

import anyio
from anyio.abc import TaskGroup

from ..contexts import exit_group
from ..sansio import Side
from .memory import BUFFER, MemoryListener
from .peer import ScriptedPeer
from .streams import MemoryByteStream

__all__ = ["scripted_server"]

BACKLOG: Final = 1024
"""Connections that may wait until a script is called with them."""

_END_OF_STREAM: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


def scripted_server(
    script: Callable[[ScriptedPeer], Awaitable[object]],
    url: str = "ws://app.test",
    *,
    buffer: int | None = BUFFER,
    chunk: int | None = None,
) -> AbstractAsyncContextManager[str]:
    """Be a server that does exactly what a test says: ``async with scripted_server(script) as url``.

    It is reached by *url* as that of `serve_in_memory`; for ``wss``, too, without TLS. *script* is called
    with a `ScriptedPeer` for each connection, in a task of its own; when it ends, the connection is
    dropped. Leaving the block cancels those that haven't ended.

    What a script raises comes out of the block in the end: as it is, or with what else comes out in
    a group of exactly these. That the client has left while the script waited for it is such an error,
    unless the block raises one itself.

    :param url: scheme, host and port
    :param buffer: bytes that a connection holds in each direction, see `memory_stream_pair`
    :param chunk: bytes that arrive at once, at most
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises ValueError: *url* has a path or credentials; *buffer* or *chunk* make no sense
    """
    listener = MemoryListener(url, has_tls=False, buffer=buffer, chunk=chunk, backlog=BACKLOG)
    return _ScriptedServer(script, listener)


class _ScriptedServer:
    def __init__(
        self, script: Callable[[ScriptedPeer], Awaitable[object]], listener: MemoryListener
    ) -> None:
        self._script = script
        self._listener = listener
        self._failures: list[Exception] = []
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> str:
        if self._group is not None:
            raise RuntimeError("a server's context manager can be entered only once")
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._listener.announce()
        self._group.start_soon(self._listener.accept, self._accepted)
        return self._listener.url

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._group is not None
        self._listener.close()
        self._group.cancel_scope.cancel()
        kept = self._failures
        if exc is not None:  # which ended connections, and scripts with them
            kept = [one for one in kept if not isinstance(one, _END_OF_STREAM)]
        try:
            return await exit_group(self._group, exc, kept=kept)
        finally:
            self._listener.withdraw()

    def _accepted(self, stream: MemoryByteStream) -> None:
        assert self._group is not None
        self._group.start_soon(self._play, stream)

    async def _play(self, stream: MemoryByteStream) -> None:
        try:
            async with ScriptedPeer(stream, Side.SERVER) as peer:
                await self._script(peer)
        except Exception as exc:
            self._failures.append(exc)
