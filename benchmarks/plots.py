"""Plots for the documentation, as SVG: ``python benchmarks/plots.py FILE.json DIRECTORY``.

They are simple enough to need no library. The ground is transparent, and every colour stands out from a white
ground as well as from a black one: an image doesn't know which of the two a page has.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from goals import read
from report import describe
from results import Load, Metric, Named, Results, Spread

INK = "#7a828c"
"""Of text and axes."""
COLOURS = {
    "anyio_ws": "#2f81f7",
    "compiled": "#2f81f7",
    "pure": "#6fa8f5",
    "before": "#a371f7",
    "websockets": "#d97a1a",
    "aiohttp": "#3a9d5d",
    "picows": "#c2589e",
    "trio-websocket": "#b8952a",
    "wsproto": "#9a7b5f",
    "httpx-ws": "#4aa3a3",
}
FLOOR = "#9aa2ab"
DASHES = {"asyncio": "none", "uvloop": "7 3", "trio": "2 3"}

WIDTH = 720
FONT = "font-family='system-ui, sans-serif' font-size='13'"


def svg(height: float, title: str, subtitle: str, body: Sequence[str]) -> str:
    """A drawing with its title."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
            f"width='{WIDTH}' height='{height:.0f}' role='img' {FONT} fill='{INK}'>",
            f"<title>{escape(title)}</title>",
            text(0, 18, title, "font-size='16' font-weight='600'"),
            text(0, 38, subtitle),
            *body,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, content: str, more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {more}>{escape(content)}</text>"


def colour(candidate: Named) -> str:
    return COLOURS.get(candidate.library, FLOOR)


def number(value: float) -> str:
    """Three digits of it, and a unit if it is large."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


# -- bars

NAME, BAR, GAP, TOP = 150, 16, 6, 58
ROOM = WIDTH - NAME - 70  # for the longest bar; its value stands behind it


def bars(results: Results, load: Load) -> str:
    """A bar for each candidate, with a line between its quartiles; those of a loop together."""
    metric = results.metrics[0]
    measured = [
        (candidate, value)
        for candidate in results.candidates
        if (value := results.spread(load, candidate, metric)) is not None
    ]
    # Floors may be far above: bare bytes in a pipeline aren't messages any more.
    libraries = [value.upper for one, value in measured if not one.library.startswith("bare")]
    full = max(libraries or [value.upper for _, value in measured]) * 1.15
    body, y = [], float(TOP)
    for loop in dict.fromkeys(candidate.loop for candidate, _ in measured):
        if loop != "-":
            body.append(text(0, y + 10, loop, "font-weight='600'"))
            y += 20
        for candidate, value in measured:
            if candidate.loop == loop:
                body += _bar(candidate, value, y, full)
                y += BAR + GAP
        y += GAP
    better = "more is better" if metric.more_is_better else "less is better"
    return svg(
        y, f"{results.title} ({load.name})", f"{metric.title} ({better}): {describe(load)}", body
    )


def _bar(candidate: Named, value: Spread, y: float, full: float) -> Iterator[str]:
    def x(at: float) -> float:
        return NAME + ROOM * min(at / full, 1)

    name = candidate.library
    yield text(NAME - 8, y + 12, name, "text-anchor='end'")
    yield (
        f"<rect x='{NAME}' y='{y:.0f}' width='{x(value.median) - NAME:.1f}' height='{BAR}' rx='2' "
        f"fill='{colour(candidate)}'/>"
    )
    beyond = value.median > full
    if not beyond and value.upper > value.lower:
        yield (
            f"<line x1='{x(value.lower):.1f}' x2='{x(value.upper):.1f}' y1='{y + BAR / 2}' "
            f"y2='{y + BAR / 2}' stroke='{INK}' stroke-width='2'/>"
        )
    yield text(
        x(max(value.median, value.upper)) + 6,
        y + 12,
        f"{'» ' if beyond else ''}{number(value.median)}",
    )


# -- lines

LEFT, RIGHT, HEIGHT = 60, 200, 380


class Scale(NamedTuple):
    """From a value to a place, by logarithms."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def lines(results: Results, axis: str, loads: Sequence[Load]) -> str:
    """Cost against what grows, both by their logarithms; the slope stands behind each name."""
    metric = results.cost
    series = {
        candidate: [
            (load.x, value.median)
            for load in loads
            if (value := results.spread(load, candidate, metric)) is not None
        ]
        for candidate in results.candidates
    }
    values = [y for points in series.values() for _, y in points]
    x = Scale(loads[0].x, loads[-1].x, LEFT, WIDTH - RIGHT)
    high = max(values) * 1.3
    y = Scale(min(*values, high / 10) / 1.3, high, HEIGHT - 40, TOP)  # what is flat looks flat
    body = [*_grid(x, y, loads), *_curves(results, loads, series, x, y)]
    title = f"{results.title} (by {axis})"
    return svg(HEIGHT, title, f"{metric.title} against {axis}; behind each name: the slope", body)


def _grid(x: Scale, y: Scale, loads: Sequence[Load]) -> Iterator[str]:
    first, last = math.floor(math.log10(y.low)), math.ceil(math.log10(y.high))
    steps = (1,) if last - first > 3 else (1, 2, 5)
    for value in (step * 10.0**power for power in range(first, last + 1) for step in steps):
        if y.low <= value <= y.high:
            yield (
                f"<line x1='{x.start}' x2='{x.end}' y1='{y(value):.1f}' y2='{y(value):.1f}' "
                f"stroke='{INK}' stroke-opacity='0.3'/>"
            )
            yield text(x.start - 8, y(value) + 4, number(value), "text-anchor='end'")
    for load in loads:
        yield (
            f"<line x1='{x(load.x):.1f}' x2='{x(load.x):.1f}' y1='{y.start}' y2='{y.start + 5}' "
            f"stroke='{INK}'/>"
        )
        yield text(x(load.x), y.start + 20, load.name.split()[0], "text-anchor='middle'")


def _curves(
    results: Results,
    loads: Sequence[Load],
    series: dict[Named, list[tuple[float, float]]],
    x: Scale,
    y: Scale,
) -> Iterator[str]:
    below = 0.0
    for candidate, points in sorted(series.items(), key=lambda item: -(item[1] or [(0, 0)])[-1][1]):
        if not points:
            continue
        stroke = (
            f"stroke='{colour(candidate)}' stroke-dasharray='{DASHES.get(candidate.loop, 'none')}'"
        )
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        yield f"<polyline points='{path}' fill='none' stroke-width='2' {stroke}/>"
        for at, value in points:
            yield f"<circle cx='{x(at):.1f}' cy='{y(value):.1f}' r='3' fill='{colour(candidate)}'/>"
        below = max(below + 16, y(points[-1][1]) + 4)  # names don't cover each other
        slope = results.slope(loads, candidate)
        name = candidate.name if slope is None else f"{candidate.name}  {slope.median:.2f}"
        yield text(x.end + 10, below, name, f"fill='{colour(candidate)}'")


# -- all of them


def draw(results: Results) -> Iterator[tuple[str, str]]:
    """The plots of a question, each with a name for its file."""
    metric: Metric = results.metrics[0]
    for load in results.loads:
        told_by_lines = load.axis and metric == results.cost
        if not told_by_lines and any(results.get(load, one) for one in results.candidates):
            name = re.sub(r"\W+", "-", load.name)
            yield f"{results.question}-{name}.svg", bars(results, load)
    for axis, loads in results.axes():
        if any(results.get(load, one) for load in loads for one in results.candidates):
            yield f"{results.question}-by-{axis}.svg", lines(results, axis, loads)


def write_plots(all_results: Sequence[Results], directory: Path) -> None:
    """Write all plots of all questions."""
    directory.mkdir(parents=True, exist_ok=True)
    for results in all_results:
        for name, content in draw(results):
            (directory / name).write_text(content)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what a run measured.")
    parser.add_argument("file", type=Path, metavar="FILE", help="what --json wrote")
    parser.add_argument("directory", type=Path, metavar="DIRECTORY")
    arguments = parser.parse_args()
    write_plots(read(arguments.file)[0], arguments.directory)


if __name__ == "__main__":
    main()
