"""How fast is a client?

The roles of echo.py the other way round: the client is measured, and sends a message for each that comes
back. The server is written in C; it answers each message with one of the same length.
"""

from __future__ import annotations

import clients
import wire
from harness import Bench, Candidate, Question
from processes import count
from results import CPU, RATE, Load, Sample
from subject import Options


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    answers = wire.Wire(wire.request(), wire.frame(wire.payload(load.size), masked=False))
    with bench.peer(load, answers) as peer:
        options = Options(int(peer.read_line()), load.connections, load.depth, load.size)
        with bench.subject(candidate, options) as process:
            return count(process, peer)


QUESTION = Question(
    name="client",
    title="How fast is a client?",
    metrics=(RATE, CPU),
    loads=(
        Load("ping-pong", mode="answer", connections=16, depth=1, size=64),
        Load("pipelined", mode="answer", connections=16, depth=64, size=64),
    ),
    subjects=clients.SUBJECTS,
    module="clients",
    measure=measure,
    quick_loads=("ping-pong",),
)
