"""Programs of this machine, as processes that a test can't leave behind.

A test whose program isn't installed is skipped, or fails where the environment has ``ANYIO_WS_INTEROP=all``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

ROOT: Final = Path(__file__).parents[2]
DEPLOYMENT: Final = ROOT / "docs" / "deployment"
SERVICE: Final = ROOT / "docs" / "samples" / "service.py"

PATIENCE: Final = 30
"""Seconds for what takes a moment. Only a hang meets it."""

WANTED: Final = os.environ.get("ANYIO_WS_INTEROP", "")
"""``all`` or ``found`` programs; without it, those that are found, but only in the quick tests."""

VERSIONS: Final = {
    "nginx": "-v",
    "haproxy": "-v",
    "curl": "--version",
    "chromium": "--version",
    "node": "--version",
    "npm": "--version",
    "systemd-analyze": "--version",
    "systemd-socket-activate": "--version",
    "unshare": "--version",
    "squid": "-v",
    "tinyproxy": "-v",
    "microsocks": "-h",
    "danted": "-v",
}
"""What is tested with, and what makes it tell its version."""

_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def find(program: str) -> str | None:
    """Where *program* is; Debian has servers where only root looks."""
    return shutil.which(program, path=_PATH)


def need(program: str) -> str:
    """Where *program* is, for a test that can't do without."""
    found = find(program)
    if found is None:
        lack(f"{program} isn't installed")
    return found


def lack(what: str) -> NoReturn:
    """Leave a test out, or fail it, because of *what* this machine lacks."""
    if WANTED == "all":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def version(program: str) -> str | None:
    """The version of *program*; None if it isn't installed."""
    path = find(program)
    if path is None:
        return None
    told = subprocess.run(
        [path, VERSIONS[program]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    ).stdout
    found = re.search(r"\d+(\.\d+)+|(?<=systemd )\d+", told)
    return found[0] if found else "?"


def configuration(name: str, changes: Mapping[str, str]) -> str:
    """A file of docs/deployment, with *changes* for this test; each must have something to change."""
    text = (DEPLOYMENT / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port, which the system gives to nobody else meanwhile: who asks for it can listen on it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def is_listened_on(port: int) -> bool:
    """Whether somebody listens on *port*."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    ready: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* for the length of a block, which begins when it is *ready*; what it says is in *log*."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            pass_fds=pass_fds,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} isn't ready:\n{log.read_text()}", pytrace=False)
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE / 3)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when the test's own time is up meanwhile
            process.kill()
            process.wait()
