"""What does a broadcast cost, by size, with compression, and while one client in a hundred is stalled?

As `fanout`, for those that wait for nobody: with the others, everything would stand still where a client
does. ``websockets`` keeps everything for it, as picows does; ``anyio_ws`` drops the oldest beyond 1 MiB.
picows has no compression: what it sends is longer there.
"""

from __future__ import annotations

from fanout import METRICS, SUBJECTS, measure
from harness import Question
from results import Load

QUESTION = Question(
    name="broadcast",
    title="What does a broadcast cost, by size, compressed, and while clients are stalled?",
    metrics=METRICS,
    loads=[
        *(
            Load(f"{members} x {name}", mode="sink", connections=members, depth=0, size=size)
            for members in (100, 1_000)
            for name, size in (("64 B", 64), ("1 KiB", 2**10), ("16 KiB", 2**14))
        ),
        *(
            Load(
                f"{members} x {name}, deflated",
                mode="sink",
                connections=members,
                depth=0,
                size=size,
                compress=True,
            )
            for members, name, size in ((100, "1 KiB", 2**10), (1_000, "1 KiB", 2**10))
        ),
        *(
            Load(
                f"{members} x 1 KiB, {stalled} stalled",
                mode="sink",
                connections=members - stalled,
                depth=0,
                size=2**10,
                stalled=stalled,
            )
            for members, stalled in ((100, 1), (1_000, 10))
        ),
    ],
    subjects=[
        one
        for one in SUBJECTS
        if one.library in ("anyio_ws", "picows")
        or (one.library == "websockets" and one.loop != "trio")
    ],
    module="fanout",
    measure=measure,
    quick_loads=("100 x 1 KiB", "100 x 1 KiB, deflated", "100 x 1 KiB, 1 stalled"),
)
