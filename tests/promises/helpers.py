"""What several promises need: to run out of time in every way, to fill a connection, to count memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

import anyio_ws
from anyio_ws import ConnectionClosed, WebSocket

from ..websocket.helpers import settle

LIBRARY = Path(anyio_ws.__file__).parent

virtual = pytest.mark.usefixtures("virtual_time")

both_ways = pytest.mark.parametrize("native", [False, True], ids=["anyio", "native"])
"""Of cancelling: by AnyIO's cancel scopes, or by what the event loop has of its own."""


@asynccontextmanager
async def time_limit(seconds: float, *, native: bool) -> AsyncIterator[None]:
    """Leave the block after *seconds*, with AnyIO's means or with asyncio's or trio's own."""
    if not native:
        with anyio.move_on_after(seconds):
            yield
    elif _on_asyncio():
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            pass
    else:
        import trio

        with trio.move_on_after(seconds):
            yield


class Cancellable:
    """Runs a call that others can cancel by the event loop's own means, `asyncio.Task.cancel` on asyncio."""

    def __init__(self) -> None:
        self.cancel: Callable[[], object] = lambda: None

    async def run(self, call: Awaitable[object]) -> bool:
        """Await *call*; whether it returned, and wasn't cancelled."""
        if _on_asyncio():
            task = asyncio.current_task()
            assert task is not None
            self.cancel = task.cancel
            try:
                await call
            except asyncio.CancelledError:
                task.uncancel()
                return False
        else:
            import trio

            with trio.CancelScope() as scope:
                self.cancel = scope.cancel
                await call
            return not scope.cancelled_caught
        return True


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


async def fill(ws: WebSocket, message: str | bytes) -> int:
    """Send until sending would wait for the peer to read; return how often that was."""
    for number in range(10_000):
        try:
            ws.send_nowait(message)
        except anyio.WouldBlock:
            await settle()
            try:
                ws.send_nowait(message)
            except anyio.WouldBlock:
                return number
    raise AssertionError("sending never has to wait")


async def collect(ws: WebSocket, messages: list[str | bytes]) -> None:
    """Receive into *messages* until the connection ends, however it does."""
    try:
        while True:
            messages.append(await ws.receive())
    except ConnectionClosed:
        pass


@contextmanager
def memory() -> Iterator[Callable[[], int]]:
    """Count the bytes allocated by the library, and by asyncio, in the block."""
    ours = (f"{LIBRARY}/*", f"{Path(asyncio.__file__).parent}/*")
    filters = [tracemalloc.Filter(True, pattern) for pattern in ours]
    filters.append(tracemalloc.Filter(False, f"{LIBRARY}/testing/*"))

    def allocated() -> int:
        traces = tracemalloc.take_snapshot().filter_traces(filters)
        return sum(statistic.size for statistic in traces.statistics("filename"))

    tracemalloc.start()
    try:
        yield allocated
    finally:
        tracemalloc.stop()
