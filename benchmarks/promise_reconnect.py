"""P7: what becomes of a program that leaves the loop in which it connects again and again."""

from __future__ import annotations

import socket
import threading
import time

import anyio
from promise_parts import Finding, brief, part
from promise_peers import Conn, Driver
from promise_wire import CLOSE, HOST, TEXT, Gone, RawFrame, RawPeer

SERVICE_RESTART = 1012


class Feed:
    """A server that greets every client; the first ones it sends away."""

    def __init__(self, *, restarts: int = 0) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._restarts = restarts
        self.url = f"ws://{HOST}:{self._listener.getsockname()[1]}/"
        self.opened = 0
        self.closed: list[int | None] = []
        """The code of each connection that ended."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self.opened += 1
            restart = self.opened <= self._restarts
            threading.Thread(target=self._serve, args=(sock, restart), daemon=True).start()

    def _serve(self, sock: socket.socket, restart: bool) -> None:
        peer = RawPeer(sock, is_server=True)
        try:
            peer.accept()
            if restart:
                peer.send(RawFrame(CLOSE, SERVICE_RESTART.to_bytes(2, "big")))
            else:
                peer.send(RawFrame(TEXT, b"hello"))
            self.closed.append(peer.read_until_closed(answer=not restart))
        except (Gone, OSError):
            self.closed.append(None)
        finally:
            sock.close()

    async def all_closed(self) -> bool:
        """Whether every connection ends within a second."""
        end = time.monotonic() + 1
        while len(self.closed) < self.opened and time.monotonic() < end:  # noqa: ASYNC110  # in threads
            await anyio.sleep(0.02)
        return len(self.closed) == self.opened


NO_LOOP = Finding(None, "it has no such loop")


async def afterwards(feed: Feed) -> str:
    """What is wrong after the loop was left: with the program, or with the connection."""
    steps = 0
    try:
        with anyio.move_on_after(0.3):
            await anyio.sleep(0.1)
            steps += 1
            await anyio.sleep(30)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 30)
            await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        closed = await feed.all_closed()
    except BaseException as exc:
        return f"what came after the loop raised {brief(exc)}"
    if not steps:
        return "what came after the loop was cancelled"
    return "" if closed else "the connection was still open a second later"


async def breaks(driver: Driver, feed: Feed) -> Finding:
    async def body(conn: Conn) -> bool:
        await conn.receive()
        return True

    try:
        await driver.reconnect(feed.url, body)
    except BaseException as exc:
        return Finding(False, f"break raised {brief(exc)}")
    trouble = await afterwards(feed)
    return Finding(not trouble, trouble or QUIET)


QUIET = "nothing raised, nobody cancelled, the connection closed"


@part("P7", "break")
async def plain_break(driver: Driver) -> Finding:
    return await breaks(driver, Feed()) if driver.has_reconnect else NO_LOOP


@part("P7", "break, after the server restarted twice")
async def break_after_restarts(driver: Driver) -> Finding:
    if not driver.has_reconnect:
        return NO_LOOP
    feed = Feed(restarts=2)
    finding = await breaks(driver, feed)
    if finding.kept and feed.opened != 3:
        return Finding(False, f"{feed.opened} connections instead of 3")
    return finding


@part("P7", "break, while the task is cancelled")
async def break_under_cancellation(driver: Driver) -> Finding:
    if not driver.has_reconnect:
        return NO_LOOP
    feed = Feed()

    async def run() -> None:
        async def body(conn: Conn) -> bool:
            await conn.receive()
            try:
                await anyio.sleep(30)
            finally:
                return True  # noqa: B012  # a break under cancellation is what this is about

        await driver.reconnect(feed.url, body)

    try:
        await driver.backend.within(0.3, run)
    except BaseException as exc:
        return Finding(False, f"break raised {brief(exc)}")
    trouble = await afterwards(feed)
    return Finding(not trouble, trouble or QUIET)


@part("P7", "an exception of the body")
async def exception_of_the_body(driver: Driver) -> Finding:
    if not driver.has_reconnect:
        return NO_LOOP
    feed = Feed()
    error = ValueError("mine")

    async def body(conn: Conn) -> bool:
        await conn.receive()
        raise error

    try:
        await driver.reconnect(feed.url, body)
    except BaseException as exc:
        if exc is not error:
            return Finding(False, f"the ValueError came out as {brief(exc)}")
    trouble = await afterwards(feed)
    return Finding(not trouble, trouble or "it came out as that object, the connection closed")


@part("P7", "a time limit around the loop")
async def time_limit(driver: Driver) -> Finding:
    if not driver.has_reconnect:
        return NO_LOOP
    feed = Feed(restarts=1)

    async def run() -> None:
        async def body(conn: Conn) -> bool:
            await conn.receive()
            await anyio.sleep(30)
            return False

        await driver.reconnect(feed.url, body)

    try:
        if await driver.backend.within(8, run):
            return Finding(False, "the cancellation was swallowed")
    except BaseException as exc:
        return Finding(False, f"the cancellation came out as {brief(exc)}")
    trouble = await afterwards(feed)
    return Finding(not trouble, trouble or "the cancellation came out, the connection closed")
