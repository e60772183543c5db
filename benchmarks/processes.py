"""The two processes of a measurement: what is measured, and the peer, which is the load."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from results import CPU, RATE, Sample
from subject import Options

HERE = Path(__file__).resolve().parent


class BenchmarkError(Exception):
    """A subject or the load failed; says which, and what it said."""


class Process:
    """A subject, in a process of its own, on the core that is measured."""

    def __init__(
        self, module: str, name: str, options: Options, *, core: int, checkout: Path | None = None
    ) -> None:
        """Start it.

        :param checkout: run it with the packages there, instead of what is installed
        """
        told = json.dumps(asdict(options))
        environment = dict(os.environ)
        if checkout is not None:
            environment["PYTHONPATH"] = str(checkout)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # it is ours until `end`
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "subject.py"), module, name, told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self.pid = self._process.pid
        os.sched_setaffinity(self.pid, {core})

    def read_line(self) -> str:
        """Return what it prints next; a server's first line is its port.

        :raises BenchmarkError: it ended, or said nothing for 30 seconds
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 30)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise BenchmarkError(f"it ended or fell silent\n{self.complaint()}".rstrip())
        return line.decode().rstrip()

    def cpu(self) -> float:
        """The seconds that it has been running, user and system.

        :raises BenchmarkError: it has ended
        """
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # as clock_getcpuclockid(3) has it
        except OSError:
            raise BenchmarkError(f"it has ended\n{self.complaint()}".rstrip()) from None

    def memory(self) -> int:
        """The bytes that it has in memory, once its garbage is collected."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self.read_line()
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise BenchmarkError("the kernel doesn't say how much memory there is")

    def complaint(self) -> str:
        """What it wrote to stderr; nothing may be."""
        self._errors.seek(0)
        return self._errors.read().strip()[-2000:]

    def end(self) -> None:
        """End it, at once, and wait for that; twice does nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


class Peer:
    """The other end, written in C; see peer.c. It limits its own time, so that reading needs no limit."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_line(self) -> str:
        """Return what it prints next.

        :raises BenchmarkError: it ended, and why
        """
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline().rstrip()
        if not line:
            complaint = self._process.stderr.read().strip()
            raise BenchmarkError(complaint or f"the peer ended with {self._process.wait()}")
        return line

    def count(self, process: Process) -> tuple[float, float, float]:
        """Let it count what it makes *process* do: how much, in which seconds, and in which of CPU time.

        :raises BenchmarkError: either failed, or the process complained
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{process.pid}\n")
        self._process.stdin.flush()
        try:
            number, seconds, cpu = map(float, self.read_line().split())
        except BenchmarkError as exc:
            time.sleep(0.5)  # the process may say why only when its connections have ended
            raise BenchmarkError(f"{exc}\n{process.complaint()}".rstrip()) from None
        if complaint := process.complaint():
            raise BenchmarkError(complaint)
        if not cpu:
            raise BenchmarkError("it did nothing while it was measured")
        return number, seconds, cpu

    def end(self) -> None:
        """End its connections, and it."""
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except BaseException:
                self._process.kill()
                raise


def count(process: Process, peer: Peer) -> Sample:
    """The `RATE` and the `CPU` of the messages that the peer counts."""
    messages, seconds, cpu = peer.count(process)
    return {RATE.key: messages / seconds, CPU.key: cpu / messages * 1e6}


def compile_peer(directory: Path) -> Path:
    """Compile the peer into *directory*, by $CC or cc."""
    program = directory / "peer"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O2", "-o", str(program), str(HERE / "peer.c")]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise BenchmarkError(f"the peer needs a C compiler: {exc}") from None
    return program
