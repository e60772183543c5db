"""What the questions share: what is measured and its load on a core each, and interleaved rounds.

Every round measures every candidate once under every load, in an order of its own. A candidate has a fresh
process in each round; it is idle while others are measured. Linux only: cores are chosen by
``sched_setaffinity``, memory comes from ``/proc``, CPU time from a clock that is Linux's.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from processes import BenchmarkError, Peer, Process, compile_peer, count
from results import BEFORE, Load, Metric, Named, Results, Sample
from subject import Options, Subject
from wire import Wire

_T = TypeVar("_T")

SPARE_FILES = 100
"""Descriptors that a process may need besides its connections."""

PLAIN = Options()


@dataclass(frozen=True)
class Candidate:
    """What is measured: a subject of a module, and the checkout that it is run from."""

    subject: Subject
    module: str
    checkout: Path | None = None
    """Instead of what is installed."""

    @property
    def named(self) -> Named:
        if self.checkout is None:
            return Named(self.subject.name, self.subject.library, self.subject.loop)
        return Named(f"{BEFORE}/{self.subject.loop}", BEFORE, self.subject.loop)


@dataclass(frozen=True)
class Question:
    """What a question's file says of it."""

    name: str
    title: str
    metrics: Sequence[Metric]
    loads: Sequence[Load]
    subjects: Sequence[Subject]
    module: str
    """Where the subjects are."""
    measure: Callable[[Bench, Load, Candidate], Sample]
    max_rounds: int | None = None
    """More of them would say nothing more."""
    quick_loads: Sequence[str] | None = None
    """The names of the loads that a quick run has; None: all."""
    quick_loops: Sequence[str] = ("asyncio", "trio", "-")
    """Those of the subjects that a quick run has."""

    def candidates(self, before: Path | None = None) -> list[Candidate]:
        """Return all that can run here; say on stderr which can't, and why.

        :param before: another checkout of this library, to measure in the same rounds
        """
        found = []
        for subject in self.subjects:
            if missing := subject.missing():
                print(f"left out: {subject.name} needs {', '.join(missing)}", file=sys.stderr)
                continue
            found.append(Candidate(subject, self.module))
            if before is not None and subject.library == "anyio_ws":
                found.append(Candidate(subject, self.module, before.resolve()))
        return found


class Bench:
    """Where questions are measured: the core, the peer, and the processes of the present round."""

    def __init__(self, directory: Path, core: int, seconds: float) -> None:
        self.core = core
        self.seconds = seconds
        self.directory = directory
        self._peer = compile_peer(directory)
        self._files: dict[bytes, Path] = {}
        self._kept: dict[tuple[str, object], tuple[Any, contextlib.ExitStack]] = {}

    def keep(self, name: str, key: object, start: Callable[[contextlib.ExitStack], _T]) -> _T:
        """Return what *start* returned for the candidate called *name* and *key* in this round.

        What it puts on the stack ends with the round, or when the candidate fails.
        """
        if (name, key) not in self._kept:
            with contextlib.ExitStack() as stack:
                self._kept[name, key] = start(stack), stack.pop_all()
        kept: _T = self._kept[name, key][0]
        return kept

    def discard(self, name: str | None = None) -> None:
        """End what was kept for the candidate called *name*, or for all."""
        for key in [key for key in self._kept if name in (None, key[0])]:
            self._kept.pop(key)[1].close()

    @contextlib.contextmanager
    def subject(self, candidate: Candidate, options: Options) -> Iterator[Process]:
        """A process that ends with the block."""
        process = Process(
            candidate.module,
            candidate.subject.name,
            options,
            core=self.core,
            checkout=candidate.checkout,
        )
        try:
            yield process
        finally:
            process.end()

    def server(self, candidate: Candidate, options: Options = PLAIN) -> tuple[Process, int]:
        """The candidate's server in this round, and its port."""

        def start(stack: contextlib.ExitStack) -> tuple[Process, int]:
            process = stack.enter_context(self.subject(candidate, options))
            return process, int(process.read_line())

        return self.keep(candidate.named.name, options, start)

    @contextlib.contextmanager
    def peer(self, load: Load, wire: Wire, port: int = 0) -> Iterator[Peer]:
        """The peer, doing what *load* says."""
        files = [str(self._file(content)) for content in wire]
        numbers = (port, load.connections, load.depth, self.seconds)
        peer = Peer([str(self._peer), load.mode, *map(str, numbers), *files])
        try:
            yield peer
        finally:
            peer.end()

    def _file(self, content: bytes) -> Path:
        if content not in self._files:
            path = self.directory / f"wire{len(self._files)}"
            path.write_bytes(content)
            self._files[content] = path
        return self._files[content]

    def exchange(self, process: Process, load: Load, wire: Wire, port: int) -> Sample:
        """Let the peer do to a server what *load* says: `RATE` and `CPU` of the messages that come back."""
        with self.peer(load, wire, port) as peer:
            return count(process, peer)


@contextlib.contextmanager
def bench(seconds: float) -> Iterator[Bench]:
    """Take a core for what is measured, and the other for us and the peer.

    :raises BenchmarkError: there is no C compiler
    """
    cores = sorted(os.sched_getaffinity(0))
    subject_core, load_core = cores[0], cores[-1]  # neighbours are often halves of one core
    if subject_core == load_core:
        print("one core only: what is measured and its load disturb each other", file=sys.stderr)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))  # for us, and what we start
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory() as directory:
        one = Bench(Path(directory), subject_core, seconds)
        try:
            yield one
        finally:
            one.discard()
            os.sched_setaffinity(0, cores)
            resource.setrlimit(resource.RLIMIT_NOFILE, files)


def possible(loads: Sequence[Load]) -> list[Load]:
    """Those of *loads* for which a process may have enough descriptors; say which aren't."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = [
        load
        for load in loads
        if limit == resource.RLIM_INFINITY or load.connections + SPARE_FILES <= limit
    ]
    for load in loads:
        if load not in enough:
            print(f"left out: {load.name} needs a higher RLIMIT_NOFILE", file=sys.stderr)
    return enough


@dataclass(frozen=True)
class Task:
    """A question, and what of it is measured."""

    question: Question
    loads: Sequence[Load]
    candidates: Sequence[Candidate]
    rounds: int

    def __len__(self) -> int:
        return self.rounds * len(self.loads) * len(self.candidates)


def measure(tasks: Sequence[Task], seconds: float) -> Iterator[Results]:
    """Measure what each task says, and yield it as soon as it is known.

    A candidate that fails under a load isn't tried under it again.

    :raises BenchmarkError: there is no C compiler
    """
    total, done = sum(map(len, tasks)), 0
    with bench(seconds) as where, progress() as show:
        for task in tasks:
            question = task.question
            results = Results(
                question.name,
                question.title,
                question.metrics,
                task.loads,
                [candidate.named for candidate in task.candidates],
                seconds,
            )
            for number in range(task.rounds):
                for load in task.loads:
                    for candidate in random.sample(task.candidates, len(task.candidates)):
                        name = candidate.named.name
                        show(done, total, f"{question.name} {number + 1}: {load.name}, {name}")
                        done += 1
                        if (load.name, name) in results.failures:
                            continue
                        try:
                            sample = question.measure(where, load, candidate)
                        except BenchmarkError as exc:
                            results.failures[load.name, name] = str(exc)
                            where.discard(name)
                        else:
                            results.samples.setdefault((load.name, name), {})[number] = sample
                where.discard()
            show(done, total, f"{question.name} done")
            yield results


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr, drawn over itself; a line now and then where stderr isn't a terminal."""
    began = time.monotonic()
    is_terminal = sys.stderr.isatty()
    shown = -1

    def show(done: int, total: int, what: str) -> None:
        nonlocal shown
        elapsed = time.monotonic() - began
        left = f"{elapsed / done * (total - done):.0f} s left" if done else ""
        line = f"{done}/{total} {left}  {what}"
        if is_terminal:
            bar = "#" * round(30 * done / total)
            print(f"\r\x1b[K[{bar:.<30}] {line}", end="", file=sys.stderr, flush=True)
        elif 10 * done // total > shown:
            shown = 10 * done // total
            print(line, file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if is_terminal:
            print(file=sys.stderr)
