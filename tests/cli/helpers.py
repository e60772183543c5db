"""Our command line, run the way a user runs it: as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

import anyio_ws
from anyio_ws import WebSocket, open_server

BACKENDS = ["asyncio", "trio"]
PATIENCE = 30  # seconds, for a machine that is busy

# The processes import the same package as these tests, and tell what they forgot to close.
ROOT = Path(anyio_ws.__file__).parents[1]
PYTHON = [sys.executable, "-W", "always::ResourceWarning"]
SEARCH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = {
    **os.environ,
    "TERM": "xterm",
    "COLUMNS": "80",
    "LINES": "24",
    "PYTHONPATH": SEARCH,  # wherever they run
}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE
    )


@contextmanager
def running(*command: str, cwd: Path = ROOT, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command that must be ended; kill it if the test didn't."""
    with subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def without(module: str) -> list[str]:
    """Our command line, where *module* can't be imported."""
    program = (
        f"import sys; sys.modules[{module!r}] = None;"
        "from anyio_ws.__main__ import main; sys.exit(main())"
    )
    return [*PYTHON, "-c", program]


def run_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run our command line where *module* can't be imported."""
    return run(*without(module), *arguments)


@contextmanager
def served(handler: Callable[[WebSocket], Awaitable[None]], **options: Any) -> Iterator[str]:
    """Serve *handler* beside the test, in a thread; its URL."""
    with start_blocking_portal("asyncio") as portal:
        serving = open_server(handler, "127.0.0.1", 0, **options)
        with portal.wrap_async_context_manager(serving) as server:
            yield server.url


async def echo(ws: WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)
