"""The command line: what it understands, and which command it runs.

A command's own module is imported only when it is run: the command line, ``--version`` and
``--help`` work with nothing installed but what the library itself needs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import platform
import sys
from collections.abc import Sequence

from anyio_ws.cli import signals
from anyio_ws.sansio.codec import CODEC


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names and return its exit code.

    :raises SystemExit: for ``--help`` (0) and for arguments that make no sense (2)
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(versions())
        return 0
    if arguments.command is None:
        parser.error("which command? (there is: demo)")
    return _demo(arguments)


def versions() -> str:
    """Return what a bug report needs, a line each: versions, ours and of what we stand on, and the codec."""
    lines: list[str] = []
    for distribution in ("anyio-ws", "anyio", "trio", "h11"):
        try:
            lines.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            if distribution != "trio":  # only an extra
                lines.append(f"{distribution} (not installed as a distribution)")
    python = f"Python {platform.python_version()} ({platform.python_implementation()})"
    return "\n".join([lines[0], python, *lines[1:], f"codec: {CODEC}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anyio-ws", description="WebSockets for structured concurrency."
    )
    parser.add_argument(
        "--version", action="store_true", help="show our version and those of what we stand on"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="three live feeds of this machine: served, opened and merged",
        description="Serve three feeds of live readings of this machine on the loopback interface "
        "(cpu, memory, network), open a WebSocket to each, merge them, and show what arrives.",
    )
    demo.add_argument(
        "--backend",
        choices=("trio", "asyncio"),
        default="trio" if importlib.util.find_spec("trio") else "asyncio",
        help="what to run on (default: trio if it is installed; here: %(default)s)",
    )
    demo.add_argument(
        "--interval",
        type=_positive,
        default=1.0,
        metavar="SECONDS",
        help="the time between two readings of a feed (default: %(default)s)",
    )
    demo.add_argument(
        "--seconds",
        type=_not_negative,
        default=0.0,
        metavar="N",
        help="end after so many seconds (default: 0, which is never: Ctrl-C ends it)",
    )
    demo.add_argument(
        "--plain",
        action="store_true",
        help="print a line per message, not a table; so it is when the output is not a terminal",
    )
    return parser


def _positive(text: str) -> float:
    number = _not_negative(text)
    if not number:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _not_negative(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if not 0 <= number < math.inf:  # which also refuses "nan"
        raise argparse.ArgumentTypeError(f"must be 0 or more, and finite: {text!r}")
    return number


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.backend == "trio" and not importlib.util.find_spec("trio"):
        return _missing("trio")
    with signals.held():
        try:
            from anyio_ws.cli import demo
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in ("psutil", "rich"):
                raise
            return _missing(module)

        demo.run(
            backend=arguments.backend,
            interval=arguments.interval,
            seconds=arguments.seconds,
            plain=arguments.plain,
        )
    return 0


def _missing(module: str) -> int:
    print(f"anyio-ws demo needs {module}: pip install 'anyio-ws[demo]'", file=sys.stderr)
    return 2
