"""What does a message cost that comes by one of many connections, merged into one stream?

A server that sends every message back, where one task receives from all connections: by `anyio_ws.mux`, or
from a queue (see merging.py). There are as many messages on their way whatever the number of connections, and
each comes by the next connection, so that only that number differs.
The same load with a handler for each connection is in growth.py.
"""

from __future__ import annotations

import merging
import wire
from harness import Bench, Candidate, Question
from results import CPU, RATE, Load, Sample
from subject import Options, announce


async def echo(merge: merging.Merge, options: Options) -> None:
    async with merge() as merged:
        announce(merged.port)
        receive, send = merged.receive, merged.send
        while True:
            ws, message = await receive()
            await send(ws, message)


SUBJECTS = merging.subjects(echo)


# -- what measures them


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, Options(connections=load.connections)) as process:
        port = int(process.read_line())
        sample = bench.exchange(process, load, wire.echo(load.size), port)
        process.end()
    return sample


QUESTION = Question(
    name="mux",
    title="What does a message cost that comes by one of many connections?",
    metrics=(CPU, RATE),
    loads=[
        Load(f"{count} merged", mode="rove", connections=count, depth=10, axis="connections")
        for count in (10, 100, 1_000, 5_000)
    ],
    subjects=SUBJECTS,
    module="mux",
    measure=measure,
    quick_loads=("10 merged", "100 merged", "1000 merged"),
)
