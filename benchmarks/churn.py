"""Does a server forget the connections that have ended?

Five batches of connections are opened and ended, some hundreds at a time: by a closing handshake, by hanging
up, by a reset, or in the middle of the opening handshake. After each the server is asked how many bytes
Python has allocated (tracemalloc), and for the numbers of its tasks and descriptors. What is made once is
there after the second batch; what has come to that by the end of the fifth was forgotten. Tasks and
descriptors must be as many after every batch.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import wire
from harness import PLAIN, Bench, Candidate, Question
from processes import BenchmarkError
from results import Load, Metric, Sample
from servers import ALL_LOOPS
from subject import HOST, Options, Subject, announce

BATCHES = 5
SETTLED = 2
"""The batch after which nothing more may be allocated for good."""

PATIENCE = 10
"""Seconds for anything."""

LIMIT = 3
"""Seconds, for every time limit of the server: an event loop keeps some hundreds of timers that were
cancelled until they would have rung, and that is waited for before we look."""

REPORT = "/report"
"""The path that the load asks for figures by."""

# -- the server


async def serve_anyio_ws(options: Options) -> None:
    import gc
    import tracemalloc

    import anyio

    from anyio_ws import WebSocket, open_server

    async def handle(ws: WebSocket) -> None:
        if ws.url != REPORT:
            async for message in ws:
                await ws.send(message)
            return
        while (now := server.statistics()).open + now.opening > 1:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        await anyio.sleep(LIMIT + 0.5)
        gc.collect()
        figures = {
            "bytes": tracemalloc.get_traced_memory()[0],
            "tasks": len(anyio.get_running_tasks()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "accepted": server.statistics().accepted,
        }
        await ws.send(json.dumps(figures))

    tracemalloc.start()
    async with open_server(
        handle, HOST, 0, open_timeout=LIMIT, close_timeout=LIMIT, ping_interval=None
    ) as server:
        announce(server.port)
        await anyio.sleep_forever()


SUBJECTS = [Subject("anyio_ws", loop, serve_anyio_ws, ("anyio_ws",)) for loop in ALL_LOOPS]

# -- what comes and goes


def connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), PATIENCE)


def receive(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = sock.recv(size - len(found))
        if not chunk:
            raise BenchmarkError(f"a connection ended after {len(found)} of {size} bytes")
        found += chunk
    return found


def opened(sock: socket.socket) -> None:
    """Read the response; nothing follows it at once."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        chunk = sock.recv(2**12)
        if not chunk:
            raise BenchmarkError("a connection ended before it was opened")
        head += chunk
    if not head.startswith(b"HTTP/1.1 101"):
        raise BenchmarkError(f"not opened: {head.splitlines()[0]!r}")


def say_goodbye(sock: socket.socket) -> None:
    sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
    if receive(sock, 4) != b"\x88\x02\x03\xe8" or sock.recv(1):
        raise BenchmarkError("no closing handshake")


def hang_up(sock: socket.socket) -> None:
    """What closing a socket does."""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


ENDINGS: list[Callable[[socket.socket], None]] = [say_goodbye, hang_up, reset]


def come_and_go(port: int, count: int, load: Load) -> None:
    """Open *count* connections at once, have an echo on each, and end them; one in ten never opens."""
    request, message = wire.echo(load.size)
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(port)) for _ in range(count)]
        for number, sock in enumerate(socks):
            sock.sendall(request[: len(request) // 2] if number % 10 == 0 else request)
        opening = [sock for number, sock in enumerate(socks) if number % 10]
        for sock in opening:
            opened(sock)
            sock.sendall(message)
        for number, sock in enumerate(opening):
            receive(sock, len(message) - len(wire.KEY))
            ENDINGS[number % len(ENDINGS)](sock)


def report(port: int) -> dict[str, int]:
    """Ask the server for its figures."""
    with connected(port) as sock:
        sock.sendall(wire.request().replace(b" / ", f" {REPORT} ".encode()))
        opened(sock)
        _, size = receive(sock, 2)
        figures: dict[str, int] = json.loads(receive(sock, size))
        return figures


def batches(port: int, load: Load) -> Iterator[dict[str, int]]:
    """Let the batches come and go; give the server's figures after each."""
    for _ in range(BATCHES):
        for _ in range(load.depth // load.connections):
            come_and_go(port, load.connections, load)
        yield report(port)


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, PLAIN) as process:
        port = int(process.read_line())
        began = time.perf_counter()
        try:
            figures = list(batches(port, load))
        except OSError as exc:
            raise BenchmarkError(f"{exc}\n{process.complaint()}".rstrip()) from exc
        seconds = time.perf_counter() - began
        complaint = process.complaint()
        process.end()
    if complaint:
        raise BenchmarkError(complaint)
    for what in ("tasks", "descriptors"):
        numbers = [one[what] for one in figures]
        if len(set(numbers)) > 1:
            raise BenchmarkError(f"{what} after each batch: {numbers}")
    if figures[-1]["accepted"] != BATCHES * (load.depth + 1):
        raise BenchmarkError(f"{figures[-1]['accepted']} connections were accepted")
    growth = figures[-1]["bytes"] - figures[SETTLED - 1]["bytes"]
    return {"kib": growth / 1024, "rate": BATCHES * load.depth / seconds}


def load_of(count: int) -> Load:
    return Load(
        f"{BATCHES} x {count}",
        mode="churn",
        connections=200,
        depth=count,
        says=f"{BATCHES} batches of {count:,} connections that come and go, 200 at a time",
    )


QUESTION = Question(
    name="churn",
    title="Does a server forget the connections that have ended?",
    metrics=(
        Metric("rate", "connections/s, traced", more_is_better=True),
        Metric("kib", "KiB grown", 1),
    ),
    loads=[load_of(200), load_of(10_000)],
    subjects=SUBJECTS,
    module="churn",
    measure=measure,
    max_rounds=1,
    quick_loads=(f"{BATCHES} x 200",),
)
