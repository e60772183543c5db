"""Tables of what was measured, for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from results import Load, Results

WIDTH = 23


def print_tables(results: Results) -> None:
    """Print a table for each load, and one of what cost grows with."""
    rounds = f"{results.rounds()} rounds of {results.seconds:g} s"
    print(f"\n{results.title}\n{'=' * len(results.title)}\n\nMedians (and quartiles), {rounds}.")
    print(f"x: times as good in {results.metrics[0].title} as another on the same loop.")
    for load in results.loads:
        print(f"\n{load.name}: {describe(load)}\n")
        _print_load(results, load)
    for axis, loads in results.axes():
        _print_slopes(results, axis, loads)


def describe(load: Load) -> str:
    """What is done, in a line."""
    if load.says:
        return load.says
    flying = "in all" if load.mode == "rove" else "on each"
    return f"{load.connections:,} connections, {load.depth} in flight {flying}, {load.size:,} bytes"


def _print_load(results: Results, load: Load) -> None:
    references = results.references()
    heads = [*(metric.title for metric in results.metrics), *(f"x {name}" for name in references)]
    _print_row("", heads)
    for candidate in results.candidates:
        cells: list[str] = []
        for metric in results.metrics:
            value = results.spread(load, candidate, metric)
            cells.append("-" if value is None else value.format(metric.digits))
        for name in references:
            ratio = results.ratio(load, candidate, name)
            cells.append("-" if ratio is None else ratio.format(2))
        if (load.name, candidate.name) in results.failures:
            cells.append("FAILED")
        _print_row(candidate.name, cells)


def _print_slopes(results: Results, axis: str, loads: Sequence[Load]) -> None:
    first, last = loads[0], loads[-1]
    cost = results.cost
    print(f"\n{cost.title} against {axis}, {first.x:,.0f} to {last.x:,.0f}: the log-log slope\n")
    _print_row("", ["all", "the last three", f"at {first.x:,.0f}", f"at {last.x:,.0f}"])
    for candidate in results.candidates:
        slopes = [results.slope(loads, candidate), results.slope(loads[-3:], candidate)]
        ends = [results.spread(load, candidate, cost) for load in (first, last)]
        cells = ["-" if value is None else value.format(2) for value in (*slopes, *ends)]
        _print_row(candidate.name, cells)


def print_failures(all_results: Sequence[Results]) -> None:
    """Say on stderr what failed, and why."""
    for results in all_results:
        for (load, candidate), failure in results.failures.items():
            print(f"\nFAILED: {results.question}, {load}, {candidate}:\n{failure}", file=sys.stderr)


def _print_row(name: str, cells: Sequence[str]) -> None:
    print(f"{name:22}" + "".join(f"{cell:>{max(WIDTH, len(cell) + 2)}}" for cell in cells))
