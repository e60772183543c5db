"""The demo, and the example to read first: three WebSocket servers, three clients, one stream.

Each server sends readings of this machine as JSON. `mux` merges the clients' connections into one
stream of ``(websocket, message)``, shown as a table or as lines. All of it is AnyIO: nothing here
depends on the backend, but for one line about signals.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from signal import Signals

import anyio
from rich.console import Console
from rich.live import Live

from anyio_ws import WebSocket, mux, open_server, open_websocket
from anyio_ws.cli.readings import Reading, feeds
from anyio_ws.cli.signals import awaited, cancel_at_signal, release
from anyio_ws.cli.table import build_table

Messages = AsyncIterable[tuple[WebSocket, str | bytes]]


async def send_readings(read: Callable[[], Reading], interval: float, ws: WebSocket) -> None:
    """Send a reading every ``interval`` seconds: a handler, which a server runs per connection."""
    while True:
        with anyio.move_on_after(interval):  # a sleep that the end of the connection ends early
            await ws.wait_closed()
            return
        await ws.send(json.dumps(read()))


async def show_feeds(*, interval: float, plain: bool) -> None:
    """Serve the feeds, open and merge them, and show what arrives.

    Leaving the stack closes it all, the last opened first: the merged stream, then each connection
    before its server.
    """
    async with AsyncExitStack() as stack:
        names: dict[WebSocket, str] = {}
        for name, read in feeds().items():
            handler = partial(send_readings, read, interval)
            server = await stack.enter_async_context(open_server(handler, "127.0.0.1", 0))
            ws = await stack.enter_async_context(open_websocket(server.url))
            names[ws] = name
        merged = await stack.enter_async_context(mux(*names))
        await (show_lines if plain else show_table)(merged, names)


async def show_table(merged: Messages, names: Mapping[WebSocket, str]) -> None:
    """Show the latest reading of each feed in a table that is drawn again for every message."""
    latest: dict[str, Reading | None] = dict.fromkeys(names.values())
    with Live(build_table(latest), auto_refresh=False) as live:  # else it would start a thread
        live.refresh()
        async for ws, message in merged:
            latest[names[ws]] = json.loads(message)
            live.update(build_table(latest), refresh=True)


async def show_lines(merged: Messages, names: Mapping[WebSocket, str]) -> None:
    """Print a line per message: the name of its feed, a blank, and its JSON."""
    async for ws, message in merged:
        try:
            print(names[ws], message, flush=True)
        except BrokenPipeError:
            # Who read this has read enough, as `| head` does. Python flushes stdout once more when
            # it ends; that goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return


async def demo(*ending: Signals, interval: float, seconds: float, plain: bool) -> None:
    """Show the feeds for so many seconds (0: for ever), or until a signal of ``ending`` comes."""
    with (
        anyio.open_signal_receiver(*ending) as signals,
        anyio.move_on_after(seconds or math.inf) as scope,
    ):
        release()  # the signals that came while we were starting
        async with anyio.create_task_group() as tg:
            tg.start_soon(cancel_at_signal, signals, scope)
            await show_feeds(interval=interval, plain=plain)
            tg.cancel_scope.cancel()  # nobody wants to see more: no more waiting for a signal


def run(*, backend: str, interval: float, seconds: float, plain: bool) -> None:
    """Run the demo on ``backend``, which is "trio" or "asyncio", until it ends."""
    # A table is drawn over itself again and again, which takes a terminal that can do that.
    plain = plain or not sys.stdout.isatty() or Console().is_dumb_terminal
    anyio.run(
        partial(demo, *awaited(backend), interval=interval, seconds=seconds, plain=plain),
        backend=backend,
    )
