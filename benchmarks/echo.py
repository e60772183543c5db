"""How fast is an echo? ``python benchmarks/echo.py --quick``; benchmarks/README.md explains it.

Three loads: small messages one at a time, small messages in a pipeline, large messages.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import BenchmarkError, Load, candidates, measure, print_tables, write_json

LOADS = (
    Load("ping-pong", connections=16, depth=1, size=64),
    Load("pipelined", connections=16, depth=64, size=64),
    Load("64KiB", connections=4, depth=1, size=2**16),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if any server failed."""
    arguments = _parse(argv)
    loads, servers = list(LOADS), candidates(arguments.before)
    load_words = [word for word in arguments.only if any(load.name == word for load in LOADS)]
    server_words = [word for word in arguments.only if word not in load_words]
    if load_words:
        loads = [load for load in loads if load.name in load_words]
    if server_words:
        servers = [server for server in servers if any(w in server.name for w in server_words)]
    if not servers:
        print(f"no server is named like {' or '.join(server_words)}", file=sys.stderr)
        return 2
    try:
        results = measure(loads, servers, rounds=arguments.rounds, seconds=arguments.seconds)
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 1
    print_tables(results)
    if arguments.json is not None:
        write_json(results, arguments.json)
    return 1 if results.failures else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast is an echo?")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.4 s: under two minutes")
    parser.add_argument("--rounds", type=_positive_int, metavar="N", help="default: 7")
    parser.add_argument("--seconds", type=_positive, metavar="S", help="per round; default: 1.5")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a load (ping-pong, pipelined, 64KiB), or part of a server's name; may be repeated",
    )
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="measure this one's anyio_ws as well"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    arguments = parser.parse_args(argv)
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick else 7
    if arguments.seconds is None:
        arguments.seconds = 0.4 if arguments.quick else 1.5
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
