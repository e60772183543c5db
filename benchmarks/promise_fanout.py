"""P6: what a client that stalls costs the others, and the server, when messages go to all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn

import anyio
import anyio.to_thread
from promise_limits import BOUND, Gauge, amount
from promise_parts import Finding, finish, part
from promise_peers import Conn, Driver
from promise_wire import BINARY, Gone, RawPeer, in_thread

OTHERS = 4
COUNT = 768
MESSAGE = bytes(2**16)
PAUSE = 0.005
"""Seconds between two messages, in which healthy clients take them easily."""
LIMIT = 20
"""Seconds that sending all may take; without a client that stalls it takes four."""


def read_all(peer: RawPeer) -> int:
    """Read messages until all have come or no more do; return how many."""
    number = 0
    try:
        while number < COUNT:
            number += peer.read_frame().opcode == BINARY
    except (Gone, OSError):
        pass
    return number


async def send_to_all(driver: Driver, judge: Callable[[list[int], bool, int], Finding]) -> NoReturn:
    """Let *judge* say what it means how many messages the others got, and how much memory it took."""
    members: list[Conn] = []
    complete = anyio.Event()
    done = False

    async def join(conn: Conn) -> None:
        members.append(conn)
        if len(members) == OTHERS + 1:
            complete.set()
        await anyio.sleep_forever()

    async with driver.serve(join) as port:
        stalled = await anyio.to_thread.run_sync(RawPeer.connect, port)
        stalled.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        results: list[Future[int]] = []
        for _ in range(OTHERS):
            peer = await anyio.to_thread.run_sync(RawPeer.connect, port)
            peer.patience = 5
            results.append(in_thread(read_all, peer))
        await complete.wait()
        gauge = Gauge()
        with anyio.move_on_after(LIMIT):
            for _ in range(COUNT):
                await driver.broadcast(members, MESSAGE)
                await anyio.sleep(PAUSE)
            done = True
        counts = [await anyio.to_thread.run_sync(result.result, 30) for result in results]
        gauge.stop()
        finish(judge(counts, done, gauge.most))


@part("P6", "one of five clients reads nothing: the other four", needs_server=True)
async def others(driver: Driver) -> Finding:
    def judge(counts: list[int], done: bool, most: int) -> Finding:
        if done and min(counts) == COUNT:
            return Finding(True, f"got all {COUNT} messages of 64 KiB{driver.note_on_broadcast}")
        stuck = "" if done else f"; sending hadn't ended after {LIMIT} s"
        note = driver.note_on_broadcast
        return Finding(False, f"got {min(counts)} of {COUNT} messages of 64 KiB{stuck}{note}")

    await send_to_all(driver, judge)


@part("P6", "one of five clients reads nothing: memory", needs_server=True)
async def memory(driver: Driver) -> Finding:
    def judge(counts: list[int], done: bool, most: int) -> Finding:
        sent = "" if done else f", with {min(counts)} messages sent"
        return Finding(
            most <= BOUND, f"held {amount(most)} of {amount(COUNT * len(MESSAGE))}{sent}"
        )

    await send_to_all(driver, judge)
