"""Who keeps which promise? ``python benchmarks/promises.py``; benchmarks/README.md explains it.

The same scenarios for every library. Each part of each runs in a process of its own, limited in time and
memory, over loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from promise_cell import PARTS
from promise_parts import PROMISES, Finding, Part
from promise_peers import DRIVERS, Driver
from promise_report import P10, Results, print_table, write_json, write_rst

HERE = Path(__file__).resolve().parent
LIMIT = 60
"""Seconds for one part; none needs more than half of it unless something hangs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if a scenario failed itself."""
    arguments = _parse(argv)
    parts, drivers = _chosen(arguments.only)
    if not parts or not drivers:
        print(f"nothing is named like {' or '.join(arguments.only)}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    results = Results(parts, drivers)
    for part in parts:
        for driver in drivers:
            _measure(results, part, driver)
    print_table(results)
    print(f"\n{time.monotonic() - begin:.0f} seconds")
    for (part_id, name), said in results.errors.items():
        print(f"\nthe scenario {part_id} failed with {name}:\n{said}", file=sys.stderr)
    if arguments.json is not None:
        write_json(results, arguments.json)
    if arguments.rst is not None:
        write_rst(results, arguments.rst)
    return 1 if results.errors else 0


def _chosen(words: Sequence[str]) -> tuple[list[Part], list[Driver]]:
    drivers = [driver for driver in DRIVERS.values() if not driver.missing()]
    for driver in DRIVERS.values():
        if driver.missing():
            print(f"left out: {driver.name} isn't installed", file=sys.stderr)
    promises = [word.upper() for word in words if word.upper() in PROMISES]
    names = [word for word in words if word.upper() not in PROMISES]
    parts = [part for part in PARTS if not promises or P10 in promises or part.promise in promises]
    parts.sort(key=lambda part: list(PROMISES).index(part.promise))
    return parts, [one for one in drivers if not names or any(word in one.name for word in names)]


def _measure(results: Results, part: Part, driver: Driver) -> None:
    key = part.id, driver.name
    if part.needs_server and not driver.has_server:
        results.findings[key] = Finding(None, "a client only, this is about servers")
        return
    if sys.stderr.isatty():
        print(f"\r\033[K{part.id} {driver.name}", end="\r", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", str(HERE / "promise_cell.py"), *key]
    # Some of them would look for a proxy, even to 127.0.0.1.
    environment = {name: it for name, it in os.environ.items() if "proxy" not in name.lower()}
    try:
        run = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        results.findings[key] = Finding(False, f"hung: ended from outside after {LIMIT} s")
        return
    lines = run.stdout.splitlines()
    if run.returncode == 0 and lines:
        results.findings[key] = Finding(**json.loads(lines[-1]))
    elif run.returncode < 0:
        results.findings[key] = Finding(False, f"the process died of signal {-run.returncode}")
    elif "MemoryError" in run.stderr:
        results.findings[key] = Finding(False, "the process ran out of memory")
    else:
        results.errors[key] = run.stderr[-3000:]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Who keeps which promise?")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a promise (P4), or part of a library's name (trio); may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write a table for the docs there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
