"""What the benchmarks share: a server and a load on a core each, interleaved rounds, ratios.

Figures move from machine to machine and from minute to minute. So every round measures every server
once, in an order of its own, and what is compared is compared within a round. Linux only: cores are
chosen by ``sched_setaffinity``, and CPU time comes from ``/proc``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import random
import select
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from servers import SERVERS, Server

HERE = Path(__file__).resolve().parent
PACKAGES = (
    *("anyio-ws", "anyio", "trio", "uvloop"),
    *("websockets", "aiohttp", "picows", "trio-websocket", "wsproto"),
)
BEFORE = "before"
REFERENCES = ("websockets", "aiohttp", "picows", "trio-websocket", "bare", BEFORE)
"""The libraries that others are compared with, on the same loop."""


class BenchmarkError(Exception):
    """A server or the load generator failed; says which, and what it said."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the load generator does to a server."""

    name: str
    connections: int
    depth: int
    """Messages that each connection keeps in flight."""
    size: int
    """Of a message, in bytes."""

    def __str__(self) -> str:
        return f"{self.connections} connections, {self.depth} in flight on each, {self.size} bytes"


class Sample(NamedTuple):
    """One measurement."""

    messages: int
    seconds: float
    cpu_seconds: float
    """Of the server, user and system."""

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def cpu_per_message(self) -> float:
        """The server's, in microseconds."""
        return self.cpu_seconds / self.messages * 1e6


class Spread(NamedTuple):
    """A median between its quartiles."""

    lower: float
    median: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """Return the quartiles of *values*, of which there is at least one."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server, by the name that the report has for it, and the checkout that it is run from."""

    name: str
    library: str
    server_name: str
    checkout: Path | None = None
    """Instead of what is installed."""

    @property
    def server(self) -> Server:
        return SERVERS[self.server_name]


def candidates(before: Path | None = None) -> list[Candidate]:
    """Return every server that can run here; say on stderr which can't, and why.

    :param before: another checkout of this library, to measure in the same rounds
    """
    found = [Candidate(name, server.library, name) for name, server in SERVERS.items()]
    if before is not None:
        found += [
            Candidate(f"{BEFORE}/{server.loop}", BEFORE, name, before.resolve())
            for name, server in SERVERS.items()
            if server.library == "anyio_ws"
        ]
    for candidate in found:
        if missing := candidate.server.missing():
            print(f"left out: {candidate.name} needs {', '.join(missing)}", file=sys.stderr)
    return [candidate for candidate in found if not candidate.server.missing()]


@dataclass(slots=True)
class Results:
    """What was measured: samples by load, candidate and round, and what failed."""

    loads: Sequence[Load]
    candidates: Sequence[Candidate]
    seconds: float
    samples: dict[tuple[str, str], dict[int, Sample]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def get(self, load: Load, candidate: Candidate) -> dict[int, Sample]:
        """The samples by their rounds."""
        return self.samples.get((load.name, candidate.name), {})

    def rounds(self) -> int:
        """How many rounds were run."""
        return max((round_ + 1 for of_one in self.samples.values() for round_ in of_one), default=0)

    def ratio(self, load: Load, candidate: Candidate, reference: str) -> Spread | None:
        """How many times as many messages as *reference*'s on the same loop, round by round."""
        if candidate.library == reference:
            return None
        for other in self.candidates:
            if (other.library, other.server.loop) == (reference, candidate.server.loop):
                theirs, ours = self.get(load, other), self.get(load, candidate)
                both = ours.keys() & theirs.keys()
                return spread([ours[n].rate / theirs[n].rate for n in both]) if both else None
        return None


def measure(
    loads: Sequence[Load],
    candidates: Sequence[Candidate],
    *,
    rounds: int,
    seconds: float,
) -> Results:
    """Measure every candidate under every load, once in each round.

    Each measurement has a fresh server. A candidate that fails under a load isn't tried under it again.
    """
    results = Results(loads, candidates, seconds)
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]  # neighbours are often halves of one core
    if server_core == load_core:
        print("one core only: server and load disturb each other", file=sys.stderr)
    os.sched_setaffinity(0, {load_core})  # for us, and what we start
    try:
        with tempfile.TemporaryDirectory() as directory, progress() as show:
            loadgen = compile_loadgen(Path(directory))
            jobs = [
                (round_, load, candidate)
                for round_ in range(rounds)
                for load in loads
                for candidate in random.sample(candidates, len(candidates))
            ]
            for done, (round_, load, candidate) in enumerate(jobs):
                show(done, len(jobs), f"round {round_ + 1}: {load.name}, {candidate.name}")
                key = load.name, candidate.name
                if key in results.failures:
                    continue
                try:
                    sample = measure_once(loadgen, load, candidate, seconds, server_core)
                except BenchmarkError as exc:
                    results.failures[key] = str(exc)
                else:
                    results.samples.setdefault(key, {})[round_] = sample
            show(len(jobs), len(jobs), "done")
    finally:
        os.sched_setaffinity(0, cores)
    return results


def compile_loadgen(directory: Path) -> Path:
    """Compile the load generator into *directory*, by $CC or cc."""
    program = directory / "loadgen"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O2", "-o", str(program), str(HERE / "loadgen.c")]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise BenchmarkError(f"the load generator needs a C compiler: {exc}") from None
    return program


def measure_once(
    loadgen: Path, load: Load, candidate: Candidate, seconds: float, core: int
) -> Sample:
    """Start the server, load it, and end both.

    :raises BenchmarkError: either failed, or the server complained
    """
    with running_server(candidate, core) as (pid, port):
        sizes = (load.connections, load.depth, load.size, seconds)
        command = [str(loadgen), str(port), candidate.server.speaks, *map(str, sizes)]
        # Everything in the load generator has its limit in time, so that no reading here needs one.
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                process.stdout.readline()  # "measuring"
                cpu_before = cpu_time(pid)
                result = process.stdout.readline().split()
                cpu_after = cpu_time(pid)
                complaint = process.stderr.read().strip()
            except BaseException:
                process.kill()
                raise
        if len(result) != 2:
            raise BenchmarkError(complaint or f"the load generator ended with {process.returncode}")
    sample = Sample(int(result[0]), float(result[1]), cpu_after - cpu_before)
    if not sample.messages:
        raise BenchmarkError("not one message came back")
    return sample


@contextlib.contextmanager
def running_server(candidate: Candidate, core: int) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, on *core*; gives its process ID and its port.

    :raises BenchmarkError: it didn't start, or wrote anything to stderr
    """
    command = [sys.executable, str(HERE / "servers.py"), candidate.server_name, "--core", str(core)]
    environment = dict(os.environ)
    if candidate.checkout is not None:
        environment["PYTHONPATH"] = str(candidate.checkout)
    with tempfile.TemporaryFile("w+") as errors:
        failure = ""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                ready, _, _ = select.select([process.stdout], [], [], 30)
                line = process.stdout.readline() if ready else b""
                if not line:
                    raise BenchmarkError("the server didn't start")
                yield process.pid, int(line)
            except BenchmarkError as exc:
                failure = str(exc)
                time.sleep(0.5)  # it may say why only when its connections have ended
            finally:
                if process.poll() is not None:
                    failure = failure or f"the server ended with {process.returncode}"
                process.stdin.close()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    failure = failure or "the server didn't end"
                    process.kill()
        errors.seek(0)
        complaint = errors.read().strip()
        if failure or complaint:
            raise BenchmarkError("\n".join(filter(None, [failure, complaint[-2000:]])))


def cpu_time(pid: int) -> float:
    """Return the seconds that a process has been running, user and system, to about 10 ms.

    :raises BenchmarkError: there is no such process any more
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        raise BenchmarkError("the server has ended") from None
    fields = stat.rpartition(")")[2].split()  # the name before may contain anything; see proc(5)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


def print_tables(results: Results) -> None:
    """Print a table for each load, and what failed."""
    libraries = {candidate.library for candidate in results.candidates}
    references = [reference for reference in REFERENCES if reference in libraries]
    heads = ["messages/s", "CPU us/message", *(f"x {reference}" for reference in references)]
    print("Medians (and quartiles); x: times as many messages as another on the same loop.")
    for load in results.loads:
        print(f"\n{load.name}: {load}; rounds: {results.rounds()} of {results.seconds:g} s\n")
        _print_row("server", heads)
        for candidate in results.candidates:
            samples = results.get(load, candidate).values()
            cells: list[str] = []
            if samples:
                cells.append(_cell(spread([sample.rate for sample in samples]), 0))
                cells.append(_cell(spread([sample.cpu_per_message for sample in samples]), 1))
                cells += [_cell(results.ratio(load, candidate, name), 2) for name in references]
            if (load.name, candidate.name) in results.failures:
                cells.append("FAILED")
            _print_row(candidate.name, cells)
    for (load_name, name), failure in results.failures.items():
        print(f"\nFAILED: {name}, {load_name}:\n{failure}", file=sys.stderr)


def _print_row(name: str, cells: Sequence[str]) -> None:
    widths = [33, 24, *[24] * len(cells)]
    aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    print("".join([f"{name:20}", *aligned]))


def _cell(value: Spread | None, digits: int) -> str:
    if value is None:
        return "-"
    lower, median, upper = (f"{number:,.{digits}f}" for number in value)
    return f"{median} ({lower}-{upper})"


def write_json(results: Results, file: Path) -> None:
    """Write everything that was measured, sample by sample, and what the tables say of it."""
    measured = []
    for load in results.loads:
        for candidate in results.candidates:
            samples = results.get(load, candidate)
            ratios = {name: results.ratio(load, candidate, name) for name in REFERENCES}
            entry: dict[str, object] = {
                "load": load.name,
                "server": candidate.name,
                "failure": results.failures.get((load.name, candidate.name)),
                "samples": [{"round": number, **s._asdict()} for number, s in samples.items()],
            }
            if samples:
                entry["messages_per_second"] = spread([s.rate for s in samples.values()])._asdict()
                cpu = spread([s.cpu_per_message for s in samples.values()])
                entry["cpu_microseconds_per_message"] = cpu._asdict()
                entry["ratio_to"] = {n: ratio._asdict() for n, ratio in ratios.items() if ratio}
            measured.append(entry)
    document = {
        "environment": environment(),
        "loads": [asdict(load) for load in results.loads],
        "rounds": results.rounds(),
        "seconds": results.seconds,
        "measured": measured,
    }
    file.write_text(json.dumps(document, indent=2) + "\n")


def environment() -> Mapping[str, object]:
    """Return what the figures depend on, as far as it can be told."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions,
    }
