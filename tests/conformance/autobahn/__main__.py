"""``python -m tests.conformance.autobahn``: run the suite, say what it found, fail if that isn't perfect."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, get_args

from .report import Result, counts, read, versions, write_rst
from .suite import AGENT, Side, Suite, listen, matching, missing, stopping, url_of
from .testee import BACKENDS

LIMIT: Final = 3600
"""Seconds for a part of a run. The longest takes five minutes on an idle machine."""

TOGETHER: Final = 2
"""Parts that run at the same time. The cases have time limits of their own, some of one second."""

SLOW: Final = ("9", "12", "13")
"""Sections that take minutes: what ``--quick`` leaves out. Each is a part of a run."""


class Run(NamedTuple):
    """One end of ours on one backend."""

    side: Side
    backend: str

    def __str__(self) -> str:
        return f"{self.side}, {self.backend}"


@dataclass(frozen=True)
class Part:
    """Some cases of a run, in processes of their own."""

    run: Run
    name: str
    cases: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What a part came to; *complaints* are what our process wrote, which should be nothing."""

    results: Sequence[Result]
    complaints: str
    seconds: float


def main() -> int:
    """Return 0 if every case came out as it should, 1 if not, 2 if nothing could be run."""
    arguments = parse()
    lacking = missing()
    if lacking is not None:
        print(f"Autobahn TestSuite left out: {lacking}")
        return 0 if arguments.if_possible else 2
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="anyio-ws-autobahn-"))
    suite = Suite(directory / "python2.7")
    suite.install()
    cases = suite.cases()
    if arguments.patterns:
        cases = matching(cases, arguments.patterns)
    if arguments.quick:
        slow = set(matching(cases, SLOW))
        cases = [case for case in cases if case not in slow]
    if not cases:
        print("no such case", file=sys.stderr)
        return 2
    runs = [
        Run(side, backend)
        for side in arguments.side or get_args(Side)
        for backend in arguments.backend or ("asyncio", "trio")
    ]
    print(f"{len(cases)} cases in each of {len(runs)} runs; {versions(suite.version)}", flush=True)
    parts = [part for run in runs for part in split(run, cases)]
    parts.sort(key=lambda part: SLOW[::-1].index(part.name) if part.name in SLOW else len(SLOW))
    with ThreadPoolExecutor(TOGETHER) as pool:
        outcomes = list(pool.map(lambda part: play(suite, part, directory / "reports"), parts))
    found = {run: gather(run, parts, outcomes, cases) for run in runs}
    if arguments.rst is not None:
        named = {str(run): outcome.results for run, outcome in found.items()}
        write_rst(arguments.rst, named, suite.version)
    print()
    return max(say(run, outcome, directory) for run, outcome in found.items())


def split(run: Run, cases: Sequence[str]) -> list[Part]:
    parts = [Part(run, section, matching(cases, [section])) for section in SLOW]
    slow = {case for part in parts for case in part.cases}
    parts.append(Part(run, "the rest", [case for case in cases if case not in slow]))
    return [part for part in parts if part.cases]


def play(suite: Suite, part: Part, reports: Path) -> Outcome:
    """Let the suite and our end of the connection run until one of them has done its cases."""
    begin = time.monotonic()
    where = reports / part.run.side / part.run.backend / part.name.replace(" ", "-")
    where.mkdir(parents=True, exist_ok=True)
    for old in where.iterdir():
        old.unlink()
    ours = [sys.executable, "-m", "tests.conformance.autobahn.testee", part.run.backend]
    with (
        listen() as listener,
        (where / "suite.log").open("w") as suite_log,
        (where / "testee.log").open("w") as our_log,
    ):
        if part.run.side == "server":
            ours += ["--listener", str(listener.fileno())]
        else:
            ours += ["--url", url_of(listener), "--agent", AGENT]
        testee = subprocess.Popen(
            ours,
            stdin=subprocess.DEVNULL,
            stdout=our_log,
            stderr=our_log,
            text=True,
            pass_fds=[listener.fileno()] if part.run.side == "server" else [],
        )
        with (
            stopping(testee),
            suite.running(part.run.side, listener, part.cases, where, suite_log) as fuzzing,
        ):
            # Who connects ends after the last case. Who listens doesn't, unless something is wrong.
            while testee.poll() is None and fuzzing.poll() is None:
                if time.monotonic() - begin > LIMIT:
                    our_log.write(f"stopped after {LIMIT} seconds\n")
                    break
                time.sleep(0.1)
    complaints = (where / "testee.log").read_text()
    outcome = Outcome(read(where, AGENT, part.cases), complaints, time.monotonic() - begin)
    print(
        f"{part.run}, {part.name}: {counts(outcome.results)} ({outcome.seconds:.0f} s)", flush=True
    )
    return outcome


def gather(
    run: Run, parts: Sequence[Part], outcomes: Sequence[Outcome], cases: Sequence[str]
) -> Outcome:
    mine = [outcome for part, outcome in zip(parts, outcomes, strict=True) if part.run == run]
    found = {result.case: result for outcome in mine for result in outcome.results}
    return Outcome(
        [found[case] for case in cases],
        "".join(outcome.complaints for outcome in mine),
        sum(outcome.seconds for outcome in mine),
    )


def say(run: Run, outcome: Outcome, directory: Path) -> int:
    """Print what a run came to; return 1 if it isn't perfect."""
    print(f"{run}: {counts(outcome.results)}")
    bad = [result for result in outcome.results if not result.verdict.good]
    for result in bad:
        print(f"    {result.case:8} {result.verdict}: {result.reason}")
    if outcome.complaints:
        print("    our process wrote:")
        print("".join(f"        {line}\n" for line in outcome.complaints.splitlines()[-40:]))
    if not bad and not outcome.complaints:
        return 0
    print(f"    reports: {directory / 'reports' / run.side / run.backend}")
    return 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.autobahn",
        description="Run Autobahn TestSuite against this library's server and client.",
    )
    parser.add_argument(
        "patterns", nargs="*", metavar="CASE", help="7.1.5, 9.* or 12; default: all"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"without sections {', '.join(SLOW)}: seconds"
    )
    parser.add_argument(
        "--side", action="append", choices=get_args(Side), help="our end; default: both, in turn"
    )
    parser.add_argument(
        "--backend", action="append", choices=BACKENDS, help="default: asyncio and trio"
    )
    parser.add_argument(
        "--rst", type=Path, metavar="FILE", help="write the table for the docs there"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="for the suite's environment and its reports; default: a new one",
    )
    parser.add_argument(
        "--if-possible", action="store_true", help="no failure if there is no CPython 2.7"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
