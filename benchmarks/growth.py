"""How does the cost of a message grow with its size, and with the number of connections?

Servers that send every message back. For sizes: one message at a time on each of four connections. For
connections: ten messages on their way on all of them together, each by the next connection, so that only
that number differs. What follows is the exponent: 1 means twice the cost for twice as much, 0 none. How cost
grows with members is in mux.py and fanout.py.
"""

from __future__ import annotations

import servers
from echo import measure
from harness import Question
from results import CPU, RATE, Load

QUESTION = Question(
    name="growth",
    title="How does the cost of a message grow?",
    metrics=(CPU, RATE),
    loads=(
        *(
            Load(name, connections=4, size=size, axis="size")
            for name, size in {
                "64B": 2**6,
                "1KiB": 2**10,
                "16KiB": 2**14,
                "128KiB": 2**17,
                "1MiB": 2**20,
                "4MiB": 2**22,
            }.items()
        ),
        *(
            Load(f"{count} open", mode="rove", connections=count, depth=10, axis="connections")
            for count in (10, 100, 1_000, 5_000)
        ),
    ),
    subjects=[one for one in servers.WEBSOCKET if one.library in ("anyio_ws", "websockets")],
    module="servers",
    measure=measure,
    max_rounds=5,
    quick_loads=("64B", "16KiB", "1MiB", "10 open", "100 open", "1000 open"),
)
