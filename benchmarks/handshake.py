"""How many connections can be opened?

The CPU time of a server for an opening handshake, accepting the connection and starting the handler, and how
many there were in a second. The connections stay open; 64 are on their way at a time.
"""

from __future__ import annotations

import servers
import wire
from harness import PLAIN, Bench, Candidate, Question
from results import Load, Metric, Sample

BEFORE = 100
"""Connections that are opened before."""


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, PLAIN) as process:
        port = int(process.read_line())
        with bench.peer(load, wire.echo(load.size), port) as peer:
            peer.read_line()  # "ready"
            connections, seconds, cpu = peer.count(process)
            process.end()
    return {"cpu": cpu / connections * 1e6, "rate": connections / seconds}


QUESTION = Question(
    name="handshake",
    title="How many connections can be opened?",
    metrics=(
        Metric("cpu", "CPU us/handshake"),
        Metric("rate", "handshakes/s", more_is_better=True),
    ),
    loads=(
        Load("handshake", mode="hold", connections=1_000, depth=BEFORE, says="1,000 connections"),
    ),
    subjects=servers.WEBSOCKET,
    module="servers",
    measure=measure,
)
