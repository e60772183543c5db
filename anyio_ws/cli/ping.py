"""The command that measures how long a server takes to answer pings."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from signal import Signals

import anyio

from anyio_ws import ConnectionClosed, WebSocket
from anyio_ws.cli import signals
from anyio_ws.cli.reaching import Exit, Failure, Target, ended, handshake, prepare_streams

__all__ = ["run", "summary"]


def summary(target: object, sent: int, latencies: Sequence[float]) -> list[str]:
    """Say what became of the pings: how many were answered, and in how many seconds each was."""
    lost = 100 * (sent - len(latencies)) / sent if sent else 0.0
    lines = [
        f"--- {target} ping statistics ---",
        f"{sent} sent, {len(latencies)} answered, {lost:.3g}% lost",
    ]
    if latencies:
        of_all = (
            *(min(latencies), statistics.fmean(latencies), max(latencies)),
            statistics.pstdev(latencies),
        )
        numbers = "/".join(f"{1000 * seconds:.3f}" for seconds in of_all)
        lines.append(f"latency min/avg/max/stddev = {numbers} ms")
    return lines


class Pinging:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace, target: Target) -> None:
        self._arguments = arguments
        self._target = target
        self._sent = 0
        self._latencies: list[float] = []
        self._output_gone = False
        self._reached = False
        self._failure: Failure | None = None

    async def run(self, *numbers: Signals) -> int:
        """Ping until it ends or one of the signals comes; the exit code.

        :raises Failure: it didn't go well; what there is to say but that was shown
        """
        with anyio.open_signal_receiver(*numbers) as received:
            signals.release()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(signals.cancel_at_signal, received, tasks.cancel_scope)
                await self._connect()
                tasks.cancel_scope.cancel()
        if self._reached:
            self._show(
                *([] if self._arguments.quiet else [""]),
                *summary(self._target, self._sent, self._latencies),
            )
        if self._failure is not None:
            raise self._failure
        return Exit.OK if self._latencies else Exit.BROKEN

    async def _connect(self) -> None:
        start = anyio.current_time()
        async with AsyncExitStack() as stack:
            try:
                ws = await self._target.open(stack, self._remark)
            except Failure as exc:
                self._failure = exc
                return
            self._remark(*handshake(ws.request, ws.response))
            self._reached = True
            milliseconds = 1000 * (anyio.current_time() - start)
            self._tell(f"connected to {self._target} in {milliseconds:.3f} ms")
            async with ws.discard_incoming():
                await self._ping_all(ws)

    async def _ping_all(self, ws: WebSocket) -> None:
        while not self._output_gone and self._sent < (self._arguments.count or math.inf):
            begun = anyio.current_time()
            self._sent += 1
            try:
                with anyio.move_on_after(self._arguments.timeout) as scope:
                    latency = await ws.ping(secrets.token_bytes(self._arguments.size))
                    self._latencies.append(latency)
                    self._tell(f"pong: seq={self._sent} time={1000 * latency:.3f} ms")
            except ConnectionClosed as exc:
                self._failure = Failure(ended(exc), Exit.BROKEN)
                return
            if scope.cancelled_caught:
                self._tell(
                    f"no answer: seq={self._sent}, not in {self._arguments.timeout:g} seconds"
                )
            if self._sent != self._arguments.count:
                await anyio.sleep_until(begun + self._arguments.interval)

    def _remark(self, *lines: str) -> None:
        if self._arguments.verbose == 1:
            for line in lines:
                print(line, file=sys.stderr, flush=True)

    def _tell(self, line: str) -> None:
        if not self._arguments.quiet:
            self._show(line)

    def _show(self, *lines: str) -> None:
        try:
            print(*lines, sep="\n", flush=True)
        except OSError as exc:
            # Python flushes stdout once more when it ends; that goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._output_gone = True
            if not isinstance(exc, BrokenPipeError):  # whose reader has read enough
                why = f"can't write the output: {exc.strerror or exc}"
                self._failure = Failure(why, Exit.BROKEN)


async def _run(arguments: argparse.Namespace, target: Target, *numbers: Signals) -> int:
    return await Pinging(arguments, target).run(*numbers)


def run(arguments: argparse.Namespace) -> int:
    """Ping as the *arguments* say; the exit code."""
    prepare_streams(arguments.verbose)
    try:
        # Nothing else is sent: a keepalive's pings would only be in the way.
        target = Target.of(arguments, ping_interval=None)
        with signals.held():
            return anyio.run(
                partial(_run, arguments, target),
                *signals.awaited(arguments.backend),
                backend=arguments.backend,
                backend_options={"use_uvloop": True} if arguments.uvloop else None,
            )
    except Failure as exc:
        print(f"anyio-ws ping: {exc}", file=sys.stderr)
        return exc.code
