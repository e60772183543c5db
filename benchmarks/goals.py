"""Where we mean to be, and whether we are: ``python benchmarks/goals.py FILE.json [--rst FILE]``.

The goals are ratios within one run where there is somebody to compare with. One is met when the lower
quartile of the rounds meets it, or the upper one where less is better, over at least seven rounds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from results import Results, Spread

ENOUGH_ROUNDS = 7


SLOPES = {"slope": "slope against", "tail": "slope of the last three against"}
"""What `Results.slope` says of all loads, and of the three largest, where no fixed cost hides another."""


class Goal(NamedTuple):
    """What is to be measured of a candidate, and where that is to be."""

    question: str
    load: str
    """The name of one; or for a slope, what grows."""
    ours: str
    bound: float
    theirs: str = ""
    """The library that the ratio is to, on the same loop; the bound is the least then."""
    metric: str = ""
    """Without a ratio: what is at most as large as the bound; or one of `SLOPES`."""

    def asks(self) -> str:
        """The goal in a few words."""
        if self.theirs:
            return f"at least {self.bound:g} x {self.theirs}"
        return f"at most {self.bound:g}"

    def was_asked(self, results: Results) -> bool:
        """Whether there was anything to judge it by in the run, if nothing failed."""
        loads = [load.name for load in results.loads]
        loops = [one.loop for one in results.candidates if one.library == self.theirs]
        return (
            self.question == results.question
            and self.load in (dict(results.axes()) if self.metric in SLOPES else loads)
            and any(
                one.name == self.ours and (not self.theirs or one.loop in loops)
                for one in results.candidates
            )
        )

    def measured(self, results: Results) -> Spread | None:
        """What there is to judge it by, if it was asked; None if that failed."""
        (ours,) = (one for one in results.candidates if one.name == self.ours)
        if self.metric in SLOPES:
            loads = dict(results.axes())[self.load]
            return results.slope(loads if self.metric == "slope" else loads[-3:], ours)
        (load,) = (load for load in results.loads if load.name == self.load)
        if self.theirs:
            return results.ratio(load, ours, self.theirs)
        (metric,) = (metric for metric in results.metrics if metric.key == self.metric)
        return results.spread(load, ours, metric)

    def is_met_by(self, measured: Spread) -> bool:
        """Whether it is met, as far as that many rounds can tell."""
        return measured.lower >= self.bound if self.theirs else measured.upper <= self.bound


def _ratios(
    question: str, load: str, loops: Sequence[str], theirs: str, bound: float
) -> Iterator[Goal]:
    for loop in loops:
        yield Goal(question, load, f"anyio_ws/{loop}", bound, theirs)


def _limits(
    question: str, load: str, metric: str, loops: Sequence[str], bound: float
) -> Iterator[Goal]:
    for loop in loops:
        yield Goal(question, load, f"anyio_ws/{loop}", bound, metric=metric)


BOTH, TRIO = ("asyncio", "uvloop"), ("trio",)
ALL = (*BOTH, *TRIO)

GOALS = (
    *_ratios("echo", "ping-pong", BOTH, "websockets", 2),
    *_ratios("echo", "ping-pong", BOTH, "aiohttp", 1.25),
    *_ratios("echo", "ping-pong", ("asyncio",), "picows", 0.5),
    *_ratios("echo", "ping-pong", ("uvloop",), "picows", 0.6),
    *_ratios("echo", "ping-pong", TRIO, "websockets", 3),
    *_ratios("echo", "ping-pong", TRIO, "trio-websocket", 3),
    *_ratios("echo", "ping-pong", TRIO, "bare-anyio", 0.8),
    *_ratios("echo", "pipelined", BOTH, "websockets", 10),
    *_ratios("echo", "pipelined", BOTH, "aiohttp", 5),
    *_ratios("echo", "pipelined", BOTH, "picows", 3),
    *_ratios("echo", "pipelined", TRIO, "websockets", 10),
    *(
        goal
        for load in ("64KiB", "1MiB")
        for goal in (
            *_ratios("echo", load, BOTH, "websockets", 1.3),
            *_ratios("echo", load, BOTH, "picows", 1),
            *_ratios("echo", load, TRIO, "websockets", 2.5),
        )
    ),
    Goal("core", "receive 64B masked", "compiled", 10, "websockets"),
    Goal("core", "receive 64B masked", "pure", 1, "websockets"),
    *(
        goal
        for load in ("100 members", "1000 members")
        for goal in (
            *_ratios("fanout", load, BOTH, "websockets", 2),
            *_ratios("fanout", load, BOTH, "picows", 1),
            *_ratios("fanout", load, TRIO, "websockets", 6),
        )
    ),
    *(
        goal
        for load in ("2000 idle", "10000 idle")
        for goal in (
            *_limits("memory", load, "kib", BOTH, 8),
            *_limits("memory", load, "kib", TRIO, 12),
        )
    ),
    *_limits("handshake", "handshake", "cpu", ALL, 200),
    *_limits("churn", "5 x 10000", "kib", ALL, 64),
    *_limits("mux", "connections", "slope", ALL, 0.042),  # 1.3 times from 10 to 5,000
    *_ratios("tls", "TLS ping-pong", ALL, "websockets", 1),
    *_ratios("tls", "TLS 64KiB", ALL, "websockets", 1),
    *_limits("growth", "size", "tail", ALL, 1.1),
    *_limits("growth", "connections", "slope", ALL, 1.1),
    *_limits("fanout", "connections", "slope", ALL, 1.1),
)

HEADS = ("what", "goal", "measured", "met")


def rows(all_results: Sequence[Results]) -> list[tuple[str, str, str, str]]:
    """A row for each goal that the run asked for."""
    table = []
    for goal, results in (
        (goal, one) for goal in GOALS for one in all_results if goal.was_asked(one)
    ):
        measured = goal.measured(results)
        met = "no" if measured is None else "yes" if goal.is_met_by(measured) else "no"
        load = f"{SLOPES[goal.metric]} {goal.load}" if goal.metric in SLOPES else goal.load
        units = {metric.key: metric.title for metric in results.metrics}
        asks = f"{goal.asks()} {units.get(goal.metric, '')}".rstrip()
        said = (
            "not measured"
            if measured is None
            else measured.format(1 if goal.metric in units else 2)
        )
        table.append((f"{goal.question}, {load}, {goal.ours}", asks, said, met))
    return table


def note(all_results: Sequence[Results]) -> str:
    """What is to be known about a table."""
    text = (
        "Medians (and quartiles). Met: by the lower quartile, or the upper one of what has a limit."
    )
    few = [f"{one.question} {one.rounds()}" for one in all_results if one.rounds() < ENOUGH_ROUNDS]
    if few:
        text += f" Fewer than {ENOUGH_ROUNDS} rounds: {', '.join(few)}."
    return text


def print_goals(all_results: Sequence[Results]) -> None:
    """Print the table, if there is a goal that was measured."""
    table = rows(all_results)
    if not table:
        return
    print(f"\nGoals\n=====\n\n{note(all_results)}\n")
    widths = [max(map(len, column)) + 2 for column in zip(HEADS, *table, strict=True)]
    for row in (HEADS, *table):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("".join(cells).rstrip())


def rst(all_results: Sequence[Results], environment: Mapping[str, Any]) -> str:
    """The same as a table for the documentation, with what it depends on."""
    versions = ", ".join(f"{name} {one}" for name, one in environment["versions"].items() if one)
    lines = [
        ".. Written by benchmarks/goals.py; not by hand.",
        "",
        f"Measured on {environment['date']}: {environment['python']}, {environment['system']}, "
        f"{environment['cores']} cores; {versions}.",
        "",
        note(all_results),
        "",
    ]
    lines += [".. list-table::", "   :header-rows: 1", "   :widths: 45 28 22 5", ""]
    for row in (HEADS, *rows(all_results)):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}")
    return "\n".join(lines) + "\n"


def read(file: Path) -> tuple[list[Results], Mapping[str, Any]]:
    """The results that a run wrote with ``--json``, and what they depend on."""
    document: dict[str, Any] = json.loads(file.read_text())
    results = [Results.from_json(question) for question in document["questions"]]
    return results, document["environment"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Which goals does a run meet?")
    parser.add_argument("file", type=Path, metavar="FILE", help="what --json wrote")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table there, too")
    arguments = parser.parse_args()
    all_results, environment = read(arguments.file)
    print_goals(all_results)
    if arguments.rst is not None:
        arguments.rst.write_text(rst(all_results, environment))


if __name__ == "__main__":
    main()
