"""The demo's web page: over HTTP the page itself, and on the same port a WebSocket for each who views it.

Readings go to the viewers through a `Channel`, which waits for none of them: one that is stalled costs
neither the others nor the terminal anything. Newcomers are sent what a chart shows of the past, and one that
was too slow is sent about as much, and then goes on with what is new.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from contextlib import AbstractAsyncContextManager
from importlib.resources import files

from anyio_ws import Channel, Request, Response, WebSocket, WebSocketServer, open_server

__all__ = ["FEED", "HTML", "POINTS", "Page"]

FEED = "/feed"
"""The path of the WebSocket."""

POINTS = 120
"""Readings of each feed that a chart shows."""

MAX_BUFFERED = 2**19
"""Bytes that may wait for one viewer, of readings: two to three times `POINTS` of all feeds."""

MAX_VIEWERS = 100

ANY_ADDRESS = ("", "0.0.0.0", "::")

HTML = files("anyio_ws.cli").joinpath("demo.html").read_text(encoding="utf-8")


def policy(html: str) -> str:
    """What a page may do, as the value of Content-Security-Policy: run what stands in it, and talk to us."""

    def source(element: str) -> str:
        inner = html.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {source('script')}; style-src {source('style')}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": policy(HTML),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def answer(ws: WebSocket, request: Request) -> Response | None:
    """Answer a request for the page, or for what isn't there: a ``process_request`` hook."""
    path, _, _ = request.path.partition("?")
    if path == FEED:
        return None
    if path != "/":
        return Response.text(404, "There is nothing at this path.\n", HEADERS)
    if request.method not in ("GET", "HEAD"):
        allowed = {**HEADERS, "Allow": "GET, HEAD"}
        return Response.text(405, "This page can only be read.\n", allowed)
    return Response.text(200, HTML, {**HEADERS, "Content-Type": "text/html; charset=utf-8"})


class Page:
    """What is served: `publish` sends a reading to all who view the page."""

    def __init__(self, *, feeds: int, interval: float, backend: str) -> None:
        """
        :param interval: seconds between two readings of a feed
        :param backend: its name, to be shown
        """
        self._about = {"backend": backend, "interval": interval, "points": POINTS}
        self._readings = Channel("readings", keep_last=POINTS * feeds)
        self._viewers = Channel("viewers")
        self._published = 0

    def serve(self, host: str, port: int) -> AbstractAsyncContextManager[WebSocketServer]:
        """Serve it for the length of a block, to pages of its own and to programs; see `open_server`."""
        return open_server(
            self.view,
            host,
            port,
            # By these names only, or a page of another site whose name leads here (DNS rebinding) would do.
            hosts=None if host in ANY_ADDRESS else [host, "localhost", "127.0.0.1", "::1"],
            process_request=answer,
            max_connections=MAX_VIEWERS,
            close_timeout=1,  # a browser keeps a spare connection, on which nothing will be asked
            compression=None,  # between programs of one machine it takes longer than it saves
        )

    async def publish(self, feed: str, reading: str | bytes) -> None:
        """Send a reading, as JSON, to all viewers. A checkpoint, and waits for nobody."""
        text = reading if isinstance(reading, str) else reading.decode()
        number, self._published = self._published, self._published + 1
        await self._readings.publish(
            f'{{"feed": {json.dumps(feed)}, "number": {number}, "reading": {text}}}'
        )

    async def view(self, ws: WebSocket) -> None:
        """Send one viewer what there is, and then what comes: the handler. Its page says nothing."""
        await ws.send_json(hello={**self._about, "time": time.time()})
        async with (
            self._readings.subscribe(ws, overflow="drop_oldest", max_buffered=MAX_BUFFERED),
            self._viewers.subscribe(ws, overflow="coalesce"),
            ws.discard_incoming(),
        ):
            await self._count()
            await ws.wait_closed()
        await self._count()

    async def _count(self) -> None:
        """Tell all viewers how many they are."""
        viewers = self._readings.statistics().subscribers
        await self._viewers.publish(json.dumps({"viewers": viewers}), key="viewers")
