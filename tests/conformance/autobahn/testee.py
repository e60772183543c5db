"""What is tested: our server, which echoes, and our client, which echoes as well.

Both have the defaults that users have, but for the size of a message: section 9 has 16 MiB.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
from functools import partial
from typing import Any, Final

import anyio

from anyio_ws import (
    ConnectionClosed,
    InvalidHandshake,
    WebSocket,
    open_server,
    open_websocket,
)

BACKENDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {}),
    "trio": ("trio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
}

MAX_SIZE: Final = 2**24

OPEN_TIMEOUT: Final = 60
"""Seconds; the suite may still have to start when the first connection is made."""


async def echo(ws: WebSocket) -> None:
    """Send every message back until the connection ends, well or badly."""
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass  # how it ended is for the suite to judge


async def serve(descriptor: int) -> None:
    """Be the server of *descriptor*, a listening socket, until SIGTERM."""
    listener = socket.socket(fileno=descriptor)
    async with open_server(echo, listeners=[listener], max_size=MAX_SIZE):
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                return


async def call(url: str, agent: str) -> None:
    """Be the client of all cases that the suite at *url* has, and make it write its reports."""
    connect = partial(open_websocket, open_timeout=OPEN_TIMEOUT, max_size=MAX_SIZE)
    async with connect(f"{url}/getCaseCount") as ws:
        count = json.loads(await ws.receive())
    for case in range(1, count + 1):
        try:
            async with connect(f"{url}/runCase?case={case}&agent={agent}") as ws:
                await echo(ws)
        except InvalidHandshake as exc:
            print(f"case number {case}: {exc}", flush=True)  # the suite calls it failed
    async with connect(f"{url}/updateReports?agent={agent}") as ws:
        await ws.wait_closed()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("--listener", type=int, help="serve on this descriptor")
    parser.add_argument("--url", help="connect to the suite here")
    parser.add_argument("--agent", help="the name to be known by")
    arguments = parser.parse_args()
    if arguments.listener is None:
        run = partial(call, arguments.url, arguments.agent)
    else:
        run = partial(serve, arguments.listener)
    backend, options = BACKENDS[arguments.backend]
    anyio.run(run, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
