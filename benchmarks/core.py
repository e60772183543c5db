"""How fast is the protocol alone?

Sans-I/O: bytes to messages and messages to bytes, without a socket or an event loop. What is received comes
in chunks of 64 KiB that cut frames wherever they end. Every candidate has a process of its own in each round,
which measures what it is told: ``python benchmarks/core.py NAME``. ``compiled`` and ``pure`` are this
library's two codecs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import wire
from harness import Bench, Candidate, Question
from processes import BenchmarkError
from results import Load, Metric, Sample
from subject import Subject

CHUNK = 2**16
"""Bytes that are received at once."""
SHARE = 1 / 3
"""Of the seconds that others take: nothing has to settle here."""

SIZES = {"64B": 64, "1KiB": 2**10, "64KiB": 2**16}

Job = Callable[[], int]
"""Does a piece of work and returns how many messages that were."""


def _load(verb: str, size: str, masked: str) -> Load:
    side = "a server" if (verb == "receive") == (masked == "masked") else "a client"
    says = f"{side} {verb}s {SIZES[size]:,} bytes, {masked}"
    return Load(f"{verb} {size} {masked}", size=SIZES[size], says=says)


LOADS = [
    _load(verb, size, masked)
    for verb in ("receive", "send")
    for size in SIZES
    for masked in ("masked", "unmasked")
]


# -- the candidates, as they are in their own processes


def _receives(load: Load) -> bool:
    return load.name.startswith("receive")


def _masked(load: Load) -> bool:
    return not load.name.endswith("unmasked")


def frames(load: Load) -> tuple[list[bytes], int]:
    """What a peer sends, in chunks, and how many messages that is."""
    frame = wire.frame(wire.payload(load.size), masked=_masked(load))
    count = max(1, 8 * CHUNK // len(frame))
    stream = frame * count
    return [stream[i : i + CHUNK] for i in range(0, len(stream), CHUNK)], count


def anyio_ws(load: Load) -> Job:
    from anyio_ws.sansio import Protocol, Side

    protocol = Protocol(Side.SERVER if _receives(load) == _masked(load) else Side.CLIENT)
    if not _receives(load):
        return _sending(load, protocol.send_binary, protocol.data_to_send)
    protocol.collect_messages()
    return _receiving(load, protocol.receive_data, protocol.messages_received)


def websockets(load: Load) -> Job:
    from websockets.protocol import CLIENT, SERVER, Protocol

    protocol = Protocol(SERVER if _receives(load) == _masked(load) else CLIENT)
    if not _receives(load):
        return _sending(load, protocol.send_binary, protocol.data_to_send)
    return _receiving(load, protocol.receive_data, protocol.events_received)


def wsproto(load: Load) -> Job:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import BytesMessage

    server = _receives(load) == _masked(load)
    connection = Connection(ConnectionType.SERVER if server else ConnectionType.CLIENT)
    if not _receives(load):
        sent: list[bytes] = []
        return _sending(
            load, lambda data: sent.append(connection.send(BytesMessage(data))), sent.clear
        )

    def whole_messages() -> list[object]:
        # What arrives of a message is an event; only the last is counted.
        return [event for event in connection.events() if getattr(event, "message_finished", True)]

    return _receiving(load, connection.receive_data, whole_messages)


def _receiving(
    load: Load, receive: Callable[[bytes], object], fetch: Callable[[], Sequence[object]]
) -> Job:
    chunks, count = frames(load)

    def job() -> int:
        got = 0
        for chunk in chunks:
            receive(chunk)
            got += len(fetch())
        assert got == count, f"{got} messages instead of {count}"
        return got

    return job


def _sending(load: Load, send: Callable[[bytes], object], fetch: Callable[[], object]) -> Job:
    payload = wire.payload(load.size)

    def job() -> int:
        for _ in range(10):
            send(payload)
            fetch()
        return 10

    return job


LIBRARIES: Mapping[str, Callable[[Load], Job]] = {
    "compiled": anyio_ws,
    "pure": anyio_ws,
    "websockets": websockets,
    "wsproto": wsproto,
}


def work(name: str) -> None:
    """Measure the loads that stdin names, each with the seconds to take; print the seconds for a message."""
    loads = {load.name: load for load in LOADS}
    for line in sys.stdin:
        seconds, _, load = line.rstrip().partition(" ")
        job = LIBRARIES[name](loads[load])
        job()
        messages, began, elapsed = 0, time.perf_counter(), 0.0
        while elapsed < float(seconds):
            messages += job()
            elapsed = time.perf_counter() - began
        print(elapsed / messages, flush=True)


# -- what asks them


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    process = bench.keep(
        candidate.named.name, "core", lambda stack: _start(bench, candidate, stack)
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{bench.seconds * SHARE} {load.name}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError("it ended; what it said stands above")
    seconds = float(line)
    return {"time": seconds * 1e9, "bytes": load.size / seconds / 1e6}


def _start(
    bench: Bench, candidate: Candidate, stack: contextlib.ExitStack
) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    environment["ANYIO_WS_PURE_PYTHON"] = "1" if candidate.subject.library == "pure" else "0"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), candidate.subject.library],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    os.sched_setaffinity(process.pid, {bench.core})
    stack.enter_context(process)  # closes its stdin and waits
    return process


async def _nothing(options: object) -> None:
    raise NotImplementedError("the protocol needs no loop")


_NEEDS = {"compiled": "anyio_ws.sansio._codec", "pure": "anyio_ws"}

QUESTION = Question(
    name="core",
    title="How fast is the protocol alone?",
    metrics=(Metric("time", "ns/message"), Metric("bytes", "MB/s", more_is_better=True)),
    loads=LOADS,
    subjects=[Subject(name, "-", _nothing, (_NEEDS.get(name, name),)) for name in LIBRARIES],
    module="core",
    measure=measure,
)

if __name__ == "__main__":
    work(sys.argv[1])
