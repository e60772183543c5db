"""How much memory does a connection take that does nothing?

What the server's process has more in memory when the connections are open than when 100 of them were, after
the garbage was collected. Sockets are the kernel's and not in it.
"""

from __future__ import annotations

import time

import servers
import wire
from harness import PLAIN, Bench, Candidate, Question
from results import Load, Metric, Sample

BEFORE = 100
"""Connections that are open before: whatever is loaded or made once isn't a connection's."""


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, PLAIN) as process:
        port = int(process.read_line())
        with bench.peer(load, wire.echo(load.size), port) as peer:
            peer.read_line()  # "ready"
            before = process.memory()
            peer.count(process)
            time.sleep(0.1)  # for handlers that begin only now
            memory = process.memory() - before
            process.end()  # at once, which ten thousand goodbyes aren't
    return {"kib": memory / load.connections / 1024}


QUESTION = Question(
    name="memory",
    title="How much memory does an idle connection take?",
    metrics=(Metric("kib", "KiB/connection", 1),),
    loads=[
        Load(
            f"{count} idle",
            mode="hold",
            connections=count,
            depth=BEFORE,
            says=f"{count:,} connections that do nothing",
        )
        for count in (2_000, 10_000)
    ],
    subjects=servers.WEBSOCKET,
    module="servers",
    measure=measure,
    max_rounds=2,
    quick_loads=("2000 idle",),
)
