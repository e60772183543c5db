"""What was measured: samples by load, candidate and round, and what follows from them.

Figures move from machine to machine and from minute to minute. So what is compared is compared within a
round, and only the ratios are compared between rounds. Everything here can be written as JSON and read back:
tables, plots and goals need nothing else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

BEFORE = "before"
"""The library's name for another checkout of this one."""
REFERENCES = (
    *("websockets", "aiohttp", "picows", "trio-websocket", "wsproto"),
    *("tasks", "bare-anyio", "pure", BEFORE),
)
"""What others are compared with, on the same loop."""


class Metric(NamedTuple):
    """Something that is measured of every candidate."""

    key: str
    title: str
    digits: int = 0
    more_is_better: bool = False


RATE = Metric("rate", "messages/s", more_is_better=True)
CPU = Metric("cpu", "CPU us/message", 2)

Sample = Mapping[str, float]
"""One measurement: a value for the key of each metric."""


@dataclass(frozen=True)
class Load:
    """What is done to a candidate."""

    name: str
    connections: int = 1
    depth: int = 1
    """Messages on their way on each connection; or in all, if the mode is rove."""
    size: int = 64
    """Of a message, in bytes."""
    mode: str = "echo"
    """Of the peer; see peer.c."""
    stalled: int = 0
    """Connections beside those, whose client never reads."""
    compress: bool = False
    """With permessage-deflate."""
    axis: str = ""
    """The attribute that grows from load to load, where cost is put against it."""
    says: str = ""
    """What is done, in a few words."""

    @property
    def x(self) -> float:
        """How large is what grows?"""
        return float(getattr(self, self.axis))


class Spread(NamedTuple):
    """A median between its quartiles."""

    lower: float
    median: float
    upper: float

    def format(self, digits: int) -> str:
        lower, median, upper = (f"{number:,.{digits}f}" for number in self)
        return median if lower == upper else f"{median} ({lower}-{upper})"


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of *values*, of which there is at least one."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


class Named(NamedTuple):
    """A candidate, by the name that the report has for it."""

    name: str
    library: str
    loop: str


@dataclass
class Results:
    """The answer to a question."""

    question: str
    title: str
    metrics: Sequence[Metric]
    """The first is the one that ratios are made of."""
    loads: Sequence[Load]
    candidates: Sequence[Named]
    seconds: float
    samples: dict[tuple[str, str], dict[int, Sample]] = field(default_factory=dict)
    """By load and candidate, and then by round."""
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def get(self, load: Load, candidate: Named) -> dict[int, Sample]:
        """The samples by their rounds."""
        return self.samples.get((load.name, candidate.name), {})

    def spread(self, load: Load, candidate: Named, metric: Metric) -> Spread | None:
        """What was measured, or None if nothing was."""
        samples = self.get(load, candidate).values()
        return spread([sample[metric.key] for sample in samples]) if samples else None

    def rounds(self) -> int:
        """How many rounds were run."""
        return max((number + 1 for of_one in self.samples.values() for number in of_one), default=0)

    def references(self) -> list[str]:
        """The libraries that others can be compared with."""
        libraries = {candidate.library for candidate in self.candidates}
        return [reference for reference in REFERENCES if reference in libraries]

    def ratio(self, load: Load, candidate: Named, reference: str) -> Spread | None:
        """How many times as good as *reference* on the same loop, round by round."""
        metric = self.metrics[0]
        if candidate.library == reference:
            return None
        for other in self.candidates:
            if (other.library, other.loop) == (reference, candidate.loop):
                theirs, ours = self.get(load, other), self.get(load, candidate)
                quotients = [
                    ours[number][metric.key] / theirs[number][metric.key]
                    for number in ours.keys() & theirs.keys()
                ]
                if not metric.more_is_better:
                    quotients = [1 / quotient for quotient in quotients]
                return spread(quotients) if quotients else None
        return None

    def axes(self) -> Iterator[tuple[str, list[Load]]]:
        """What grows, and the loads along which it does: at least three, or it isn't a line."""
        for axis in dict.fromkeys(load.axis for load in self.loads if load.axis):
            loads = sorted(
                (load for load in self.loads if load.axis == axis), key=lambda one: one.x
            )
            if len(loads) >= 3:
                yield axis, loads

    @property
    def cost(self) -> Metric:
        """The metric that is put against what grows."""
        return next(metric for metric in self.metrics if not metric.more_is_better)

    def slope(self, loads: Sequence[Load], candidate: Named) -> Spread | None:
        """How cost grows along *loads*: the exponent, by least squares of the logarithms in each round."""
        samples = [self.get(load, candidate) for load in loads]
        whole = set(samples[0]).intersection(*samples[1:])
        xs = [math.log(load.x) for load in loads]
        slopes = [
            statistics.linear_regression(
                xs, [math.log(of_load[number][self.cost.key]) for of_load in samples]
            ).slope
            for number in whole
        ]
        return spread(slopes) if slopes else None

    def to_json(self) -> dict[str, Any]:
        """Every sample, and what the tables say of them."""
        measured = []
        for load in self.loads:
            for candidate in self.candidates:
                samples = self.get(load, candidate)
                spreads = {one.key: self.spread(load, candidate, one) for one in self.metrics}
                ratios = {name: self.ratio(load, candidate, name) for name in self.references()}
                measured.append(
                    {
                        "load": load.name,
                        "candidate": candidate.name,
                        "failure": self.failures.get((load.name, candidate.name)),
                        "samples": [{"round": n, **sample} for n, sample in samples.items()],
                        "spread": {key: one._asdict() for key, one in spreads.items() if one},
                        "times": {name: one._asdict() for name, one in ratios.items() if one},
                    }
                )
        return {
            "question": self.question,
            "title": self.title,
            "metrics": [metric._asdict() for metric in self.metrics],
            "loads": [asdict(load) for load in self.loads],
            "candidates": [candidate._asdict() for candidate in self.candidates],
            "rounds": self.rounds(),
            "seconds": self.seconds,
            "measured": measured,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        results = cls(
            document["question"],
            document["title"],
            [Metric(**metric) for metric in document["metrics"]],
            [Load(**load) for load in document["loads"]],
            [Named(**candidate) for candidate in document["candidates"]],
            document["seconds"],
        )
        for entry in document["measured"]:
            key = entry["load"], entry["candidate"]
            if entry["failure"] is not None:
                results.failures[key] = entry["failure"]
            for sample in entry["samples"]:
                of_key = results.samples.setdefault(key, {})
                of_key[sample["round"]] = {k: v for k, v in sample.items() if k != "round"}
        return results
