"""How much memory does a connection take whose messages are received with those of many others?

As in memory.py: what the process has more in memory with the connections than with 100 of them. They are the
servers of mux.py, where a connection may have a place in the merged stream, or a task beside it.
"""

from __future__ import annotations

import memory
import mux
from harness import Question
from results import Load, Metric

SUBJECTS = mux.SUBJECTS

QUESTION = Question(
    name="members",
    title="How much memory does a connection take that is one of many, merged?",
    metrics=(Metric("kib", "KiB/connection", 1),),
    loads=[
        Load(
            f"{count} members",
            mode="hold",
            connections=count,
            depth=memory.BEFORE,
            says=f"{count:,} connections that do nothing, received from in one place",
        )
        for count in (2_000,)
    ],
    subjects=SUBJECTS,
    module="members",
    measure=memory.measure,
    max_rounds=2,
)
