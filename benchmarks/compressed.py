"""What does compression cost?

An echo of texts of 1 KiB that are alike and not the same, with permessage-deflate (RFC 7692) as each library
agrees to it by default. The load sends what was compressed before: it needs no zlib, and each message
stands for itself, which a client may do. Each library chooses its own level, window and memory; what of it
is used is in docs/limits.rst for this one. ``picows`` and ``trio-websocket`` don't compress.
"""

from __future__ import annotations

import json
import random
import zlib
from functools import cache

import servers
import wire
from harness import Bench, Candidate, Question
from results import CPU, RATE, Load, Sample
from subject import Options

COUNT = 64
"""Different messages: together more than a window has."""


@cache
def messages(size: int) -> wire.Wire:
    """What the peer sends in turns."""
    chance = random.Random(1)  # the same in each run
    return wire.Wire(
        wire.request(wire.DEFLATE),
        b"".join(
            wire.frame(_deflate(_text(chance, size)), masked=True, first=wire.COMPRESSED)
            for _ in range(COUNT)
        ),
    )


def _text(chance: random.Random, size: int) -> bytes:
    rows = [
        {"symbol": chance.choice(["ABC", "XYZ", "QRS"]), "price": chance.randrange(10**6) / 100}
        for _ in range(size // 20)
    ]
    return json.dumps(rows).encode()[:size]


def _deflate(data: bytes) -> bytes:
    """Section 7.2.1: without the four bytes that end every message."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    process, port = bench.server(candidate, Options(compress=True))
    return bench.exchange(process, load, messages(load.size), port)


QUESTION = Question(
    name="compressed",
    title="What does compression cost?",
    metrics=(CPU, RATE),
    loads=(Load("deflate", connections=16, depth=1, size=2**10),),
    subjects=[one for one in servers.WEBSOCKET if one.library not in ("picows", "trio-websocket")],
    module="servers",
    measure=measure,
)
