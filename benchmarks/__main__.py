"""Measure speed: ``python benchmarks [QUESTION ...] [--quick]``; benchmarks/README.md explains it."""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from goals import print_goals, rst
from harness import Question, Task, measure, possible
from plots import write_plots
from processes import BenchmarkError
from report import print_failures, print_tables
from results import Results

QUESTIONS = (
    *("echo", "client", "core", "fanout", "broadcast", "mux", "members", "fairness", "memory"),
    "handshake",
    *("tls", "compressed", "growth", "churn"),
)
"""Each a module with a ``QUESTION``."""
PACKAGES = (
    *("anyio-ws", "anyio", "trio", "uvloop", "websockets", "aiohttp", "picows"),
    *("trio-websocket", "wsproto", "httpx-ws"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if anything failed, or 2 if there is nothing to measure."""
    arguments = _parse(argv)
    tasks = [
        task
        for name in arguments.questions or QUESTIONS
        if (task := plan(importlib.import_module(name).QUESTION, arguments))
    ]
    if not tasks:
        print(f"nothing is called {' or '.join(arguments.only)}", file=sys.stderr)
        return 2
    all_results: list[Results] = []
    try:
        for results in measure(tasks, arguments.seconds):
            all_results.append(results)
            print_tables(results)
            write(all_results, arguments)  # it may take long until the next is known
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 1
    print_goals(all_results)
    print_failures(all_results)
    return 1 if any(results.failures for results in all_results) else 0


def write(all_results: Sequence[Results], arguments: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if arguments.json is not None:
        document = {
            "environment": environment(),
            "questions": [results.to_json() for results in all_results],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.docs is not None:
        write_plots(all_results, arguments.docs)
        (arguments.docs / "goals.rst").write_text(rst(all_results, environment()))


def plan(question: Question, arguments: argparse.Namespace) -> Task | None:
    """What of *question* is measured, or None if nothing of it was asked for."""
    loads, candidates = list(question.loads), question.candidates(arguments.before)
    if arguments.quick and question.quick_loads is not None:
        loads = [load for load in loads if load.name in question.quick_loads]
    if arguments.quick and not arguments.only:
        candidates = [one for one in candidates if one.subject.loop in question.quick_loops]
    names = [load.name for load in question.loads]
    load_words = [word for word in arguments.only if fnmatch.filter(names, word)]
    words = [word for word in arguments.only if word not in load_words]
    if load_words:
        loads = [
            load
            for load in question.loads
            if any(fnmatch.fnmatch(load.name, word) for word in load_words)
        ]
    if words:
        candidates = [
            one
            for one in candidates
            if any(word in one.named.name or word in one.subject.name for word in words)
        ]
    loads = possible(loads)
    if not loads or not candidates:
        return None
    return Task(question, loads, candidates, min(arguments.rounds, question.max_rounds or math.inf))


def environment() -> Mapping[str, object]:
    """Return what the figures depend on, as far as it can be told."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.date.today().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": versions,
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="How fast is it?")
    parser.add_argument(
        "questions", nargs="*", metavar="QUESTION", help=f"default: all of {', '.join(QUESTIONS)}"
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 0.1 s, and less of most")
    parser.add_argument("--rounds", type=_positive_int, metavar="N", help="default: 7")
    parser.add_argument("--seconds", type=_positive, metavar="S", help="per round; default: 0.35")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a load, by its name or a pattern ('receive*'), or part of a candidate's name; "
        "may be repeated",
    )
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="measure this one's anyio_ws as well"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument(
        "--docs", type=Path, metavar="DIR", help="write the plots and the table of goals there"
    )
    arguments = parser.parse_args(argv)
    for name in arguments.questions:
        if name not in QUESTIONS:
            parser.error(f"no question is called {name}: {', '.join(QUESTIONS)}")
    if arguments.rounds is None:
        arguments.rounds = 1 if arguments.quick else 7
    if arguments.seconds is None:
        arguments.seconds = 0.1 if arguments.quick else 0.35
    if arguments.before is not None and not (arguments.before / "anyio_ws").is_dir():
        parser.error(f"there is no anyio_ws in {arguments.before}")
    return arguments


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0: {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
