"""The demo, and the example to read first: three WebSocket servers, three clients, one stream.

Each server sends readings of this machine as JSON. `mux` merges the clients' connections into one
stream of ``(websocket, message)``, shown as a table or as lines, and to whoever opens the web page, if
there is one (`anyio_ws.cli.web`). All of it is AnyIO: nothing here depends on the backend, but for one line
about signals.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from signal import Signals

import anyio
from rich.console import Console
from rich.live import Live

from anyio_ws import WebSocket, mux, open_server, open_websocket
from anyio_ws.cli.readings import Reading, feeds
from anyio_ws.cli.serve import CannotServe
from anyio_ws.cli.signals import awaited, cancel_at_signal, release
from anyio_ws.cli.table import build_table
from anyio_ws.cli.web import Page

Show = Callable[[str, str | bytes], None]
"""Shows a message, of the feed of that name."""


async def send_readings(read: Callable[[], Reading], interval: float, ws: WebSocket) -> None:
    """Send a reading every ``interval`` seconds: a handler, which a server runs per connection."""
    while True:
        with anyio.move_on_after(interval):  # a sleep that the end of the connection ends early
            await ws.wait_closed()
            return
        await ws.send(json.dumps({"time": time.time(), **read()}))


async def show_feeds(
    reads: Mapping[str, Callable[[], Reading]],
    *,
    interval: float,
    plain: bool,
    page: Page | None,
) -> None:
    """Serve the feeds, open and merge them, and show what arrives.

    Leaving the stack closes it all, the last opened first: the merged stream, then each connection
    before its server.
    """
    async with AsyncExitStack() as stack:
        names: dict[WebSocket, str] = {}
        for name, read in reads.items():
            handler = partial(send_readings, read, interval)
            server = await stack.enter_async_context(open_server(handler, "127.0.0.1", 0))
            ws = await stack.enter_async_context(open_websocket(server.url))
            names[ws] = name
        merged = await stack.enter_async_context(mux(*names))
        with lines() if plain else table(names.values()) as show:
            async for ws, message in merged:
                if page is not None:
                    await page.publish(names[ws], message)
                show(names[ws], message)


@contextmanager
def table(names: Iterable[str]) -> Generator[Show, None, None]:
    """Show the latest reading of each feed in a table that is drawn again for every message."""
    latest: dict[str, Reading | None] = dict.fromkeys(names)

    def show(name: str, message: str | bytes) -> None:
        latest[name] = json.loads(message)
        live.update(build_table(latest), refresh=True)

    with Live(build_table(latest), auto_refresh=False) as live:  # else it would start a thread
        live.refresh()
        yield show


@contextmanager
def lines() -> Generator[Show, None, None]:
    """Print a line per message: the name of its feed, a blank, and its JSON."""
    try:
        yield partial(print, flush=True)
    except BrokenPipeError:
        # Who read this has read enough, as `| head` does. Python flushes stdout once more when
        # it ends; that goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def demo(
    *ending: Signals,
    backend: str,
    interval: float,
    seconds: float,
    plain: bool,
    web: tuple[str, int] | None,
) -> None:
    """Show the feeds for so many seconds (0: for ever), or until a signal of ``ending`` comes.

    :param web: host and port for the web page
    :raises CannotServe: they can't be listened on
    """
    with (
        anyio.open_signal_receiver(*ending) as signals,
        anyio.move_on_after(seconds or math.inf) as scope,
    ):
        release()  # the signals that came while we were starting
        reads = feeds()
        async with AsyncExitStack() as stack:
            page = None
            if web is not None:
                page = Page(feeds=len(reads), interval=interval, backend=backend)
                await serve_page(stack, page, *web)
            async with anyio.create_task_group() as tg:
                tg.start_soon(cancel_at_signal, signals, scope)
                await show_feeds(reads, interval=interval, plain=plain, page=page)
                tg.cancel_scope.cancel()  # nobody wants to see more: no more waiting for a signal


async def serve_page(stack: AsyncExitStack, page: Page, host: str, port: int) -> None:
    """Serve the web page until ``stack`` is left, and say where.

    :raises CannotServe: it can't be
    """
    try:
        server = await stack.enter_async_context(page.serve(host, port))
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or exc
        if getattr(exc, "errno", None) == errno.EADDRINUSE:
            why = f"{why}; --port 0 takes any that is free"
        place = f"{host or 'any address'} port {port}"
        raise CannotServe(f"can't listen on {place}: {why}", 1) from None
    # Not to the standard output, where lines are for programs.
    print(f"open {server.url.replace('ws', 'http', 1)} in a browser", file=sys.stderr, flush=True)


def run(
    *, backend: str, interval: float, seconds: float, plain: bool, web: tuple[str, int] | None
) -> int:
    """Run the demo on ``backend``, which is "trio" or "asyncio", until it ends; the exit code."""
    # A table is drawn over itself again and again, which takes a terminal that can do that.
    plain = plain or not sys.stdout.isatty() or Console().is_dumb_terminal
    show = partial(
        demo,
        *awaited(backend),
        backend=backend,
        interval=interval,
        seconds=seconds,
        plain=plain,
        web=web,
    )
    try:
        anyio.run(show, backend=backend)
    except CannotServe as exc:
        print(f"anyio-ws demo: {exc}", file=sys.stderr)
        return exc.code
    return 0
