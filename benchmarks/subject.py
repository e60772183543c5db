"""What is measured runs in a process of its own: ``python benchmarks/subject.py MODULE NAME OPTIONS``.

MODULE has a list ``SUBJECTS``; the one called NAME runs until stdin closes. A server prints its port when it
is ready. For each line that comes on stdin the garbage is collected and a line printed. What goes wrong is
said on stderr; nothing else is. Importing this, or a MODULE, imports no library.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

HOST = "127.0.0.1"
MAX_SIZE = 2**24
"""What a message may have, everywhere."""


@dataclass(frozen=True)
class Options:
    """What a subject is told; each takes what concerns it."""

    port: int = 0
    """Where a client connects to."""
    connections: int = 0
    """How many a client opens, or a server waits for."""
    depth: int = 1
    """Messages that a client keeps on their way on each."""
    size: int = 64
    """Of the messages that a subject makes up, in bytes."""
    certificate: str | None = None
    """A PEM file with a key and its certificate; a server speaks TLS then."""
    stalled: int = 0
    """How many more connections a server opens to itself, of clients that never read."""
    compress: bool = False
    """Agree to permessage-deflate, with the library's own settings; without this it is off."""


class Subject(NamedTuple):
    """How to run something, and what to compare it with."""

    library: str
    loop: str
    """asyncio, uvloop or trio: ratios are between subjects on the same one; "-": on none."""
    main: Callable[[Options], Awaitable[None]]
    needs: tuple[str, ...]
    """Modules without which it can't run, besides the loop's."""
    speaks_websocket: bool = True
    """Or bare bytes."""

    @property
    def name(self) -> str:
        return self.library if self.loop == "-" else f"{self.library}/{self.loop}"

    def missing(self) -> list[str]:
        """The modules that it needs and that aren't installed."""
        loop = [self.loop] if self.loop in ("uvloop", "trio") else []
        return [name for name in (*self.needs, *loop) if not is_installed(name)]


def is_installed(module: str) -> bool:
    """Whether *module* could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def announce(port: int) -> None:
    """Tell whoever started us where we serve."""
    print(port, flush=True)


def run(subject: Subject, options: Options) -> None:
    """Run it on its loop. AnyIO only starts the loop; it costs nothing after that."""
    import anyio

    anyio.run(
        subject.main,
        options,
        backend="trio" if subject.loop == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if subject.loop == "uvloop" else {},
    )


def obey_stdin() -> None:
    """Collect the garbage when asked to; end the process when stdin closes, so that none is left over."""
    while os.read(sys.stdin.fileno(), 1024):
        gc.collect()
        print("collected", flush=True)
    os._exit(0)  # nobody waits for goodbyes


def main() -> None:
    parser = argparse.ArgumentParser(description="Run what is measured, until stdin closes.")
    parser.add_argument("module", metavar="MODULE", help="servers, clients, fanout or mux")
    parser.add_argument("name", metavar="NAME", help="one of its SUBJECTS, such as anyio_ws/trio")
    parser.add_argument("options", type=json.loads, nargs="?", default={}, help="Options, as JSON")
    arguments = parser.parse_args()
    subjects: list[Subject] = importlib.import_module(arguments.module).SUBJECTS
    (subject,) = (one for one in subjects if one.name == arguments.name)
    threading.Thread(target=obey_stdin, daemon=True).start()
    run(subject, Options(**arguments.options))


if __name__ == "__main__":
    main()
