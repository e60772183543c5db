"""How fast is the protocol alone? ``python benchmarks/core.py --quick``; benchmarks/README.md explains it.

Sans-I/O: bytes to messages and messages to bytes, without a socket or an event loop. Every candidate has a
process of its own, which measures what it is told and says how long a message took. Only one measures at a
time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import IO, NamedTuple

from harness import BenchmarkError, Spread, environment, progress, spread

CHUNK = 2**16
"""Bytes that are received at once; frames are cut wherever that falls."""

SIZES = {"64B": 64, "1KiB": 2**10, "64KiB": 2**16}

KEY = b"\x37\xfa\x21\x3d"


class Load(NamedTuple):
    """What is done with messages."""

    name: str
    receiving: bool
    size: int
    masked: bool
    """Then a server receives, or a client sends."""


LOADS = [
    Load(f"{verb} {name} {'masked' if masked else 'unmasked'}", verb == "receive", size, masked)
    for verb in ("receive", "send")
    for name, size in SIZES.items()
    for masked in (True, False)
]

Job = Callable[[], int]
"""Does a piece of work and returns how many messages that were."""

Library = Callable[[Load], Job]


# -- the candidates, as they are in their own processes


def frames(load: Load) -> tuple[list[bytes], int]:
    """What a peer sends, in chunks, and how many messages that is."""
    payload = bytes(i * 7 & 0xFF for i in range(load.size))
    if load.masked:
        payload = KEY + bytes(byte ^ mask for byte, mask in zip(payload, cycle(KEY), strict=False))
    bit = 0x80 if load.masked else 0
    if load.size < 126:
        header = bytes([0x82, bit | load.size])
    elif load.size < 2**16:
        header = bytes([0x82, bit | 126, *load.size.to_bytes(2, "big")])
    else:
        header = bytes([0x82, bit | 127, *load.size.to_bytes(8, "big")])
    frame = header + payload
    count = max(1, 8 * CHUNK // len(frame))
    wire = frame * count
    return [wire[i : i + CHUNK] for i in range(0, len(wire), CHUNK)], count


def anyio_ws(load: Load) -> Job:
    from anyio_ws.sansio import Protocol, Side

    protocol = Protocol(Side.SERVER if load.receiving == load.masked else Side.CLIENT)
    if not load.receiving:
        return _sending(load, protocol.send_binary, protocol.data_to_send)
    protocol.collect_messages()
    return _receiving(load, protocol.receive_data, protocol.messages_received)


def websockets(load: Load) -> Job:
    from websockets.protocol import CLIENT, SERVER, Protocol

    protocol = Protocol(SERVER if load.receiving == load.masked else CLIENT)
    if not load.receiving:
        return _sending(load, protocol.send_binary, protocol.data_to_send)
    return _receiving(load, protocol.receive_data, protocol.events_received)


def wsproto(load: Load) -> Job:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import BytesMessage

    server = load.receiving == load.masked
    connection = Connection(ConnectionType.SERVER if server else ConnectionType.CLIENT)
    if not load.receiving:
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
    payload = bytes(i * 7 & 0xFF for i in range(load.size))

    def job() -> int:
        for _ in range(10):
            send(payload)
            fetch()
        return 10

    return job


LIBRARIES: Mapping[str, Library] = {
    "compiled": anyio_ws,
    "pure": anyio_ws,
    "websockets": websockets,
    "wsproto": wsproto,
}


def work(library: Library, seconds: float) -> None:
    """Measure the loads that are named on stdin; tell the seconds for a message, a line each."""
    loads = {load.name: load for load in LOADS}
    for line in sys.stdin:
        job = library(loads[line.rstrip()])
        job()
        messages, began = 0, time.perf_counter()
        elapsed = 0.0
        while elapsed < seconds:
            messages += job()
            elapsed = time.perf_counter() - began
        print(elapsed / messages, flush=True)


# -- what asks them


class Results(NamedTuple):
    loads: Sequence[Load]
    candidates: Sequence[str]
    samples: dict[tuple[str, str], list[float]]
    """Seconds for a message, round by round, by the names of load and candidate."""

    def ratio(self, load: Load, candidate: str, reference: str) -> Spread | None:
        """How many times as fast as *reference*, round by round."""
        ours = self.samples[load.name, candidate]
        theirs = self.samples.get((load.name, reference))
        if theirs is None or candidate == reference:
            return None
        return spread([b / a for a, b in zip(ours, theirs, strict=True)])


def candidates() -> list[str]:
    """Return who can run here; say on stderr who can't."""
    needs = {"compiled": "anyio_ws.sansio._codec", "pure": "anyio_ws"}
    found = []
    for name in LIBRARIES:
        if importlib.util.find_spec(needs.get(name, name)) is None:
            print(f"left out: {name} needs {needs.get(name, name)}", file=sys.stderr)
        else:
            found.append(name)
    return found


@contextlib.contextmanager
def worker(name: str, seconds: float) -> Iterator[Callable[[Load], float]]:
    """A process for a candidate."""
    pure = "1" if name == "pure" else "0"
    with subprocess.Popen(
        [sys.executable, __file__, "--seconds", str(seconds), "--worker", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "ANYIO_WS_PURE_PYTHON": pure},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask: IO[str] = process.stdin
        answer: IO[str] = process.stdout

        def measure(load: Load) -> float:
            ask.write(f"{load.name}\n")
            ask.flush()
            line = answer.readline()
            if not line:
                raise BenchmarkError(f"{name} failed: {load.name}")
            return float(line)

        yield measure
        ask.close()


def measure(loads: Sequence[Load], names: Sequence[str], *, rounds: int, seconds: float) -> Results:
    """Measure every candidate under every load, once in each round.

    :raises BenchmarkError: one failed
    """
    results = Results(loads, names, {})
    with contextlib.ExitStack() as stack:
        show = stack.enter_context(progress())
        workers = {name: stack.enter_context(worker(name, seconds)) for name in names}
        jobs = [
            (load, name)
            for _ in range(rounds)
            for load in loads
            for name in random.sample(names, len(names))
        ]
        for done, (load, name) in enumerate(jobs):
            show(done, len(jobs), f"{load.name}, {name}")
            results.samples.setdefault((load.name, name), []).append(workers[name](load))
        show(len(jobs), len(jobs), "done")
    return results


def print_table(results: Results, references: Sequence[str]) -> None:
    print("Medians (and quartiles); x: times as fast, computed within each round.")
    for load in results.loads:
        heads = ["ns/message", "MB/s", *(f"x {name}" for name in references)]
        print(f"\n{load.name:<24}" + "".join(f"{head:>24}" for head in heads))
        for name in results.candidates:
            samples = results.samples[load.name, name]
            times = spread([sample * 1e9 for sample in samples])
            cells = [_cell(times, 0), f"{load.size / times.median * 1e3:,.0f}"]
            for reference in references:
                ratio = results.ratio(load, name, reference)
                cells.append("-" if ratio is None else _cell(ratio, 2))
            print(f"  {name:<22}" + "".join(f"{cell:>24}" for cell in cells))


def _cell(value: Spread, digits: int) -> str:
    lower, median, upper = (f"{number:,.{digits}f}" for number in value)
    return f"{median} ({lower}-{upper})"


def write_json(results: Results, references: Sequence[str], file: Path) -> None:
    measured = []
    for (load_name, name), samples in results.samples.items():
        load = next(load for load in results.loads if load.name == load_name)
        ratios = {other: results.ratio(load, name, other) for other in references}
        measured.append(
            {
                "load": load_name,
                "candidate": name,
                "seconds_per_message": samples,
                "spread": spread(samples)._asdict(),
                "ratio_to": {n: ratio._asdict() for n, ratio in ratios.items() if ratio},
            }
        )
    document = {"environment": environment(), "measured": measured}
    file.write_text(json.dumps(document, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if a candidate failed."""
    arguments = _parse(argv)
    if arguments.worker is not None:
        work(LIBRARIES[arguments.worker], arguments.seconds)
        return 0
    loads = [load for load in LOADS if all(word in load.name.split() for word in arguments.only)]
    if not loads:
        print(f"no load is named like {' '.join(arguments.only)}", file=sys.stderr)
        return 2
    names = candidates()
    try:
        results = measure(loads, names, rounds=arguments.rounds, seconds=arguments.seconds)
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 1
    references = [name for name in ("websockets", "wsproto", "pure") if name in names]
    print_table(results, references)
    if arguments.json is not None:
        write_json(results, references, arguments.json)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast is the protocol alone?")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.05 s: ten seconds")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 9")
    parser.add_argument("--seconds", type=float, metavar="S", help="per round; default: 0.2")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="a word of a load's name (receive, send, 64B, 1KiB, 64KiB, masked, unmasked); "
        "all that are given must fit",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick else 9
    if arguments.seconds is None:
        arguments.seconds = 0.05 if arguments.quick else 0.2
    if arguments.rounds < 1 or not arguments.seconds > 0:
        parser.error("rounds and seconds are more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
