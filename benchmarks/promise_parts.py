"""What a promise scenario consists of: parts, each run by itself, each with what was found."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import NoReturn

from promise_peers import Driver

MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """What one part found out about one library."""

    kept: bool | None
    """None: it doesn't apply."""
    observed: str


Scenario = Callable[[Driver], Awaitable[Finding]]


@dataclass(frozen=True)
class Part:
    """A part of a promise that is measured by itself, in a process of its own."""

    promise: str
    name: str
    scenario: Scenario
    needs_server: bool

    @property
    def id(self) -> str:
        return f"{self.promise}:{self.name}"


PROMISES = {
    "P1": "Your exception stays your exception",
    "P2": "A cancelled send never corrupts the stream",
    "P3": "A cancelled receive loses nothing",
    "P4": "A slow consumer is never mistaken for a dead peer",
    "P5": "One bad client or handler never takes the server down",
    "P6": "One stalled client never delays a broadcast, nor grows memory without bound",
    "P7": "Leaving a reconnect loop is safe",
    "P8": "Every buffer is bounded in bytes",
    "P9": "Closing never waits for the application, and two ends that stream never deadlock",
    "P10": "Both backends behave the same",
}

PARTS: list[Part] = []


def part(promise: str, name: str, *, needs_server: bool = False) -> Callable[[Scenario], Scenario]:
    """Register a scenario."""

    def register(scenario: Scenario) -> Scenario:
        PARTS.append(Part(promise, name, scenario, needs_server))
        return scenario

    return register


def finish(finding: Finding) -> NoReturn:
    """Print what was found, and end the process: what a library may have left stuck is no reason to wait."""
    print(json.dumps(asdict(finding)), flush=True)
    os._exit(0)


def finish_after(seconds: float, finding: Finding) -> None:
    """Do it in *seconds*, whatever the event loop does then."""
    timer = threading.Timer(seconds, finish, [finding])
    timer.daemon = True
    timer.start()


def brief(exc: BaseException) -> str:
    """An exception in a few words; a group by what it holds."""
    if isinstance(exc, BaseExceptionGroup):
        return f"{type(exc).__name__} of {', '.join(dict.fromkeys(_leaves(exc)))}"
    return type(exc).__name__


def _leaves(exc: BaseException) -> Iterator[str]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield type(exc).__name__


def memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
