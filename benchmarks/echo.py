"""How fast is an echo?

Servers that send every message back, one message at a time, in a pipeline, and large ones; next to servers
that send bytes back.
"""

from __future__ import annotations

import servers
import wire
from harness import Bench, Candidate, Question
from results import CPU, RATE, Load, Sample


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    process, port = bench.server(candidate)
    said = wire.echo(load.size, speaks_websocket=candidate.subject.speaks_websocket)
    return bench.exchange(process, load, said, port)


QUESTION = Question(
    name="echo",
    title="How fast is an echo?",
    metrics=(RATE, CPU),
    loads=(
        Load("ping-pong", connections=16, depth=1, size=64),
        Load("pipelined", connections=16, depth=64, size=64),
        Load("64KiB", connections=4, depth=1, size=2**16),
        Load("1MiB", connections=4, depth=1, size=2**20),
    ),
    subjects=servers.SUBJECTS,
    module="servers",
    measure=measure,
    quick_loops=servers.ALL_LOOPS,
)
