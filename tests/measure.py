"""What work costs, counted and never timed: the same on every machine, and every time.

Lines of Python don't show what C does, copying above all; what is allocated does. So both are counted.
"""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

Work = Callable[[], object]


def peak_of(work: Work) -> int:
    """The bytes in use at the same time for *work*, at most."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lines_of(work: Work) -> int:
    """The lines of Python that *work* executes, in whatever module."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    with _tracing(trace):
        work()
    return count


def allocated_by(work: Work) -> int:
    """The bytes that *work* allocates, whether or not it frees them: the sum over all lines."""
    total = before = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal total, before
        now, peak = tracemalloc.get_traced_memory()
        total += max(0, peak - before)
        before = now
        tracemalloc.reset_peak()
        return trace

    gc.collect()
    tracemalloc.start()
    try:
        with _tracing(trace):
            work()
    finally:
        tracemalloc.stop()
    return total


@contextmanager
def _tracing(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    outer = sys.gettrace()  # a debugger's, or coverage's
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(outer)


def slope(sizes: Sequence[int], costs: Sequence[int]) -> float:
    """The exponent with which *costs* grow: 1 is linear, 2 quadratic (least squares of the logarithms)."""
    xs = [math.log(size) for size in sizes]
    ys = [math.log(max(cost, 1)) for cost in costs]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - x0) ** 2 for x in xs
    )
