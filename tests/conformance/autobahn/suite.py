"""Autobahn TestSuite: installed for a CPython 2.7, asked for its cases, and run."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

Side = Literal["server", "client"]
"""Which end of the connection is ours."""

ROOT: Final = Path(__file__).parents[3]
MAIN: Final = Path(__file__).with_name("suite_main.py")
AGENT: Final = "anyio_ws"
"""How the suite's reports call us."""


def requirement() -> str:
    """Return what is installed, and in which version: it stands in ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (suite,) = project["dependency-groups"]["autobahn"]
    return str(suite)


def find_python27() -> str | None:
    """Return a CPython 2.7 of this machine: ``$PYTHON27``, one on ``$PATH`` or one of pyenv's."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates = [
        os.environ.get("PYTHON27"),
        shutil.which("python2.7"),
        *sorted(glob.glob(f"{glob.escape(pyenv)}/versions/2.7.*/bin/python2.7")),
    ]
    # Tried and not only looked for: what stands on the path may be a shim that has no 2.7 to start.
    code = "import platform; assert platform.python_implementation() == 'CPython'"
    for python in candidates:
        if python and subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
            return python
    return None


def missing() -> str | None:
    """Tell what this machine lacks; None if the suite can be installed."""
    if find_python27() is None:
        return "no CPython 2.7: name one in $PYTHON27"
    if shutil.which(os.environ.get("CC", "cc")) is None:
        return "no C compiler, which parts of the suite need"
    return None


class Suite:
    """The suite in an environment of its own, in the directory *where*."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self._python = where / "bin" / "python"
        self.version = requirement()

    def install(self) -> None:
        """Install it, unless that was done already.

        :raises subprocess.CalledProcessError: pip, or the compiler that it starts, failed
        """
        done = self._where / "installed"
        if done.exists() and done.read_text() == self.version:
            return
        python27 = find_python27()
        assert python27 is not None, missing()
        print(f"installing {self.version} for {python27}", flush=True)
        shutil.rmtree(self._where, ignore_errors=True)
        virtualenv = [sys.executable, "-m", "virtualenv", "--quiet", "--python", python27]
        subprocess.run([*virtualenv, str(self._where)], check=True)
        # Without its warnings, which are all about the age of Python 2.7.
        pip = [str(self._python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        installed = subprocess.run(
            [*pip, self.version], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if installed.returncode:
            print(installed.stdout, file=sys.stderr)
            installed.check_returncode()
        done.write_text(self.version)

    def cases(self) -> list[str]:
        """Return the names of all cases, in their order."""
        listed = subprocess.run(
            self._command(), input=json.dumps({"mode": "list"}), capture_output=True, text=True
        )
        if listed.returncode:
            raise RuntimeError(f"the suite doesn't start:\n{listed.stderr}")
        return cast("list[str]", json.loads(listed.stdout))

    @contextmanager
    def running(
        self, ours: Side, listener: socket.socket, cases: Sequence[str], reports: Path, log: TextIO
    ) -> Iterator[subprocess.Popen[str]]:
        """Run *cases* against *ours*, for the length of a block; *listener* is the server's."""
        url = url_of(listener)
        spec: dict[str, Any] = {"outdir": str(reports), "cases": list(cases)}
        if ours == "server":
            spec["servers"] = [{"agent": AGENT, "url": url}]
        else:
            spec["url"] = url  # it must know its port: it compares that with the Host header
        request = {
            "mode": "client" if ours == "server" else "server",
            "listener": listener.fileno(),
            "spec": spec,
        }
        process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            pass_fds=[] if ours == "server" else [listener.fileno()],
        )
        with stopping(process):
            assert process.stdin is not None
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            yield process

    def _command(self) -> list[str]:
        return [str(self._python), "-W", "ignore", "-u", str(MAIN)]


def listen() -> socket.socket:
    """Listen on a free port of this machine; only it can connect."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"ws://{host}:{port}"


@contextmanager
def stopping(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop *process*, if it hasn't ended by then."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def matching(cases: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return those of *cases* that one of *patterns* names: ``7.1.5``, ``9.*``, or ``9`` for the same."""
    return [
        case
        for case in cases
        if any(
            fnmatch.fnmatchcase(case, pattern) or case.startswith(f"{pattern}.")
            for pattern in patterns
        )
    ]
