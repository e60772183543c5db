"""Who is served how often, if one of many merged connections is a hundred times as chatty as the others?

Fifty clients send to a server that receives in one place (merging.py): 49 a message in each round, and one
a hundred, as far as it isn't held up. The server takes 30 messages in each round, or 80: fewer than there
are, so that somebody has to wait. What each should get is its max-min fair share: nobody could have more
without taking it from one who has no more. Jain's index of what each got of that is 1 if all got the same,
and n / 50 if n of them got everything.

Clients and server are in one process, and this isn't about time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import merging
import wire
from harness import Bench, Candidate, Question
from results import Load, Metric, Sample
from subject import HOST, Options

CLIENTS, CHATTY, ROUNDS = 50, 100, 100
MESSAGE = wire.frame(wire.payload(64), masked=True)


async def share(merge: merging.Merge, options: Options) -> None:
    """Print the index, for so many messages a round as the depth is."""
    import anyio
    from anyio.abc import SocketStream

    sent: Counter[str] = Counter()
    taken: Counter[str] = Counter()

    async def connect(port: int, path: str) -> SocketStream:
        stream = await anyio.connect_tcp(HOST, port)
        await stream.send(wire.request().replace(b"GET /", b"GET " + path.encode()))
        await stream.receive()
        return stream

    async def chat(stream: SocketStream, path: str, number: int) -> None:
        for _ in range(number):
            await stream.send(MESSAGE)
            sent[path] += 1

    async def chatter(stream: SocketStream) -> None:
        while True:
            await chat(stream, "/0", CHATTY)
            await anyio.sleep(0.005)

    async with merge() as merged, anyio.create_task_group() as tasks:
        streams = [await connect(merged.port, f"/{number}") for number in range(CLIENTS)]
        tasks.start_soon(chatter, streams[0])
        for _ in range(ROUNDS):
            for number, stream in enumerate(streams[1:], 1):
                await chat(stream, f"/{number}", 1)
            await anyio.sleep(0.005)
            for _ in range(options.depth):
                ws, _ = await merged.receive()
                taken[merged.path(ws)] += 1
        paths = [f"/{number}" for number in range(CLIENTS)]
        shares = fair_shares([sent[path] for path in paths], taken.total())
        got = [taken[path] / one for path, one in zip(paths, shares, strict=True)]
        print(sum(got) ** 2 / (len(got) * sum(one**2 for one in got)), flush=True)
        await anyio.sleep_forever()


def fair_shares(available: Sequence[int], total: float) -> list[float]:
    """Share *total* out, as evenly as what is *available* of each lets it be."""
    shares = [0.0] * len(available)
    order = sorted(range(len(available)), key=lambda index: available[index])
    for place, index in enumerate(order):
        shares[index] = min(available[index], total / (len(order) - place))
        total -= shares[index]
    return shares


SUBJECTS = merging.subjects(share)


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, Options(depth=load.depth)) as process:
        return {"jain": float(process.read_line())}


QUESTION = Question(
    name="fairness",
    title="Is everybody served whose connection is merged with that of a chatterbox?",
    metrics=(Metric("jain", "Jain's index", 3, more_is_better=True),),
    loads=[
        Load(f"{depth} a round", connections=CLIENTS, depth=depth, says=f"{depth} taken a round")
        for depth in (30, 80)
    ],
    subjects=SUBJECTS,
    module="fairness",
    measure=measure,
    max_rounds=2,
)
