"""P8 and P9: how much a library holds, and how long it may take to go on or to close."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import anyio
import anyio.to_thread
from promise_parts import MIB, Finding, brief, finish, finish_after, memory, part
from promise_peers import Conn, Driver, Options
from promise_wire import (
    BINARY,
    CLOSE,
    CONT,
    HOST,
    PING,
    TEXT,
    Gone,
    RawFrame,
    RawPeer,
    RawServer,
    in_thread,
    small_buffers,
)

# -- P8

BOUND = 32 * MIB
"""What a process may grow by. Generous: where there is a limit, the largest message by default is 1 MiB."""


class Gauge:
    """Memory in use beyond that at the beginning, in bytes, watched from a thread."""

    def __init__(self) -> None:
        gc.collect()
        self._begin = memory()
        self._samples = [self._begin]
        self._stop = threading.Event()
        in_thread(self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._samples.append(memory())

    def stop(self) -> None:
        self._stop.set()
        self._samples.append(memory())

    @property
    def most(self) -> int:
        return max(self._samples) - self._begin

    @property
    def is_growing(self) -> bool:
        """Whether it was still going up in the last half of the time."""
        half = self._samples[len(self._samples) // 2]
        return self._samples[-1] - half > MIB


async def idle(_: Conn) -> None:
    """An application that never receives."""


async def receiving(conn: Conn) -> None:
    """An application that waits for a message, and takes it."""
    await conn.receive()


async def flooded(
    driver: Driver,
    first: RawFrame | None,
    repeated: RawFrame,
    application: Callable[[Conn], Awaitable[None]],
    most: int,
    *,
    no_end: bool = False,
) -> NoReturn:
    """The peer sends *first*, and then *repeated* again and again, up to *most* bytes.

    *no_end*: there is no limit that a library could still meet after that, so it mustn't grow all the time.
    """
    go = threading.Event()
    block = repeated.serialize(masked=False)
    block *= max(1, 2**15 // len(block))

    def script(peer: RawPeer) -> tuple[str, int]:
        go.wait(10)
        if first is not None:
            peer.send(first)
        outcome = peer.flood(block, most=most, seconds=25, patience=4)
        return outcome, peer.taken()

    server = RawServer(script)

    async def run(conn: Conn) -> None:
        try:
            await application(conn)
        except Exception:
            pass  # what became of the connection is seen by the peer

    async with driver.connect(server.url) as ws:
        gauge = Gauge()
        go.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, driver.wrap(ws))
            outcome, taken = await anyio.to_thread.run_sync(server.result.result, 40)
            gauge.stop()
            growing = no_end and outcome == "still reading" and gauge.is_growing
            finish(
                Finding(
                    gauge.most <= BOUND and not growing,
                    f"held {amount(gauge.most)}{' and growing' if growing else ''}; "
                    f"{outcome} after {amount(taken)} from the wire",
                )
            )


def amount(size: int) -> str:
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 1024:.0f} KiB"


@part("P8", "messages of 1 byte, never received")
async def tiny_messages(driver: Driver) -> Finding:
    await flooded(driver, None, RawFrame(TEXT, b"x"), idle, 4 * MIB)


@part("P8", "messages of 1 MiB, never received")
async def large_messages(driver: Driver) -> Finding:
    await flooded(driver, None, RawFrame(BINARY, bytes(MIB - 64)), idle, 64 * MIB)


@part("P8", "an endless message in fragments of 1 byte, never received")
async def tiny_fragments(driver: Driver) -> Finding:
    first, more = RawFrame(TEXT, b"x", fin=False), RawFrame(CONT, b"x", fin=False)
    await flooded(driver, first, more, idle, 4 * MIB)


@part("P8", "an endless message in fragments of 1 byte, awaited")
async def tiny_fragments_awaited(driver: Driver) -> Finding:
    first, more = RawFrame(TEXT, b"x", fin=False), RawFrame(CONT, b"x", fin=False)
    await flooded(driver, first, more, receiving, 4 * MIB)


@part("P8", "an endless message in empty fragments, awaited")
async def empty_fragments(driver: Driver) -> Finding:
    first, more = RawFrame(BINARY, b"", fin=False), RawFrame(CONT, b"", fin=False)
    await flooded(driver, first, more, receiving, 2 * MIB, no_end=True)


@part("P8", "an endless message in fragments of 64 KiB, awaited")
async def large_fragments(driver: Driver) -> Finding:
    first, more = RawFrame(BINARY, b"", fin=False), RawFrame(CONT, bytes(2**16), fin=False)
    await flooded(driver, first, more, receiving, 24 * MIB, no_end=True)


@part("P8", "64 sends of 1 MiB under a time limit, to a peer that reads nothing")
async def unread_output(driver: Driver) -> Finding:
    small_buffers(2**16)
    server = RawServer(lambda _: time.sleep(60))
    message = bytes(MIB)
    returned = 0
    failure = ""
    async with driver.connect(server.url) as ws:
        conn = driver.wrap(ws)
        gauge = Gauge()
        try:
            for _ in range(64):
                returned += await driver.backend.within(0.02, partial(conn.send, message))
        except Exception as exc:
            failure = f", then send raised {brief(exc)}"
        gauge.stop()
        said = f"held {amount(gauge.most)}, {returned} sends returned{failure}"
        finish(Finding(gauge.most <= BOUND, said))


# -- P9

LARGE = os.urandom(2**19)  # which compression doesn't make smaller
COUNT = 64
PATIENCE = 6


class Progress:
    """Counts what was sent and received."""

    def __init__(self, pings: float | None) -> None:
        self.pings = pings
        """Seconds between pings, of either end."""
        self.sent = {"client": 0, "server": 0}
        self.received = {"client": 0, "server": 0}
        self.failures: list[str] = []
        self._last = time.monotonic()

    def count(self, what: dict[str, int], side: str) -> None:
        what[side] += 1
        self._last = time.monotonic()

    def is_over(self) -> bool:
        done = all(what[side] == COUNT for what in (self.sent, self.received) for side in what)
        return done or bool(self.failures)

    def is_stuck(self) -> bool:
        return time.monotonic() - self._last > PATIENCE

    async def both_ways(self, conn: Conn, side: str) -> None:
        """Send and receive at the same time, each in a task of its own, and maybe ping."""

        async def send() -> None:
            for _ in range(COUNT):
                await conn.send(LARGE)
                self.count(self.sent, side)

        async def receive() -> None:
            for _ in range(COUNT):
                await conn.receive()
                self.count(self.received, side)

        async def ping(seconds: float) -> None:
            while True:
                await anyio.sleep(seconds)
                await conn.ping()

        try:
            async with anyio.create_task_group() as pinging:
                if self.pings is not None:
                    pinging.start_soon(ping, self.pings)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send)
                    tasks.start_soon(receive)
                pinging.cancel_scope.cancel()
        except Exception as exc:
            self.failures.append(f"the {side} failed: {brief(exc)}")
            raise


@part("P9", "two ends stream large messages at each other")
async def stream_quietly(driver: Driver) -> Finding:
    await stream_both_ways(driver, Progress(None))


@part("P9", "two ends stream large messages at each other, and ping")
async def stream_and_ping(driver: Driver) -> Finding:
    await stream_both_ways(driver, Progress(0.02))


async def stream_both_ways(driver: Driver, progress: Progress) -> NoReturn:
    small_buffers(2**17)
    if not driver.has_server:
        await _stream_with_raw_peer(driver, progress)

    async def handle(conn: Conn) -> None:
        await progress.both_ways(conn, "server")
        await anyio.sleep(60)

    async with driver.serve(handle) as port:
        await _watch(driver, f"ws://{HOST}:{port}/", progress, "")


async def _stream_with_raw_peer(driver: Driver, progress: Progress) -> NoReturn:
    def script(peer: RawPeer) -> None:
        def receive() -> None:
            for _ in range(COUNT):
                while (frame := peer.read_frame()).opcode not in (BINARY, CONT) or not frame.fin:
                    pass
                progress.count(progress.received, "server")

        reader = in_thread(receive)
        for _ in range(COUNT):
            pings = [RawFrame(PING)] if progress.pings else []
            peer.send(*pings, RawFrame(BINARY, LARGE))
            progress.count(progress.sent, "server")
        reader.result(60)
        peer.read_until_closed(answer=True)

    await _watch(driver, RawServer(script).url, progress, " (the peer always reads)")


async def _watch(driver: Driver, url: str, progress: Progress, note: str) -> NoReturn:
    begin = time.monotonic()
    async with driver.connect(url) as ws:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(progress.both_ways, driver.wrap(ws), "client")
            while not progress.is_over() and not progress.is_stuck():  # noqa: ASYNC110
                await anyio.sleep(0.05)  # time passing is one of the things waited for
            if progress.failures or progress.is_stuck():
                count = min(progress.received.values())
                why = "; ".join(progress.failures) or f"nothing moved for {PATIENCE} s"
                finish(Finding(False, f"stopped after {count} of {COUNT} messages: {why}{note}"))
            seconds = time.monotonic() - begin
            finish(Finding(True, f"{COUNT} messages of 512 KiB each way in {seconds:.1f} s{note}"))


async def close_unread(driver: Driver, *, answer: bool, limit: float) -> tuple[float, str]:
    """Leave a block with 1000 unread messages; the seconds it took, and what it raised."""

    def script(peer: RawPeer) -> None:
        peer.send(*(RawFrame(TEXT, b"%d" % number) for number in range(1000)))
        try:
            if answer:
                peer.read_until_closed(answer=True)
            else:
                while peer.read_frame().opcode != CLOSE:
                    pass
                time.sleep(30)
        except (Gone, OSError):
            pass

    server = RawServer(script)
    begin = time.monotonic()
    finish_after(15, Finding(False, f"not closed after 14 s with a close timeout of {limit:g} s"))
    try:
        async with driver.connect(server.url, Options(close_timeout=limit)):
            await anyio.sleep(0.5)
            begin = time.monotonic()
    except BaseException as exc:
        return time.monotonic() - begin, f", raised {brief(exc)}"
    return time.monotonic() - begin, ""


@part("P9", "closing with 1000 unread messages, the peer doesn't answer")
async def close_silent(driver: Driver) -> Finding:
    seconds, raised = await close_unread(driver, answer=False, limit=1)
    return Finding(seconds < 2, f"{seconds:.1f} s with a close timeout of 1 s{raised}")


@part("P9", "closing with 1000 unread messages, the peer answers")
async def close_answered(driver: Driver) -> Finding:
    seconds, raised = await close_unread(driver, answer=True, limit=4)
    return Finding(seconds < 2, f"{seconds:.1f} s with a close timeout of 4 s{raised}")
