"""The command that talks to a server: lines in, messages out.

The connection is open for as long as there is a reason: lines that may still come, answers to wait for, and a
reader of the output. Whoever of us finds that there is none any more cancels the talk, and the connection is
closed in order. A signal does so, too; a second one cancels everything.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from signal import Signals

import anyio
from anyio.abc import TaskGroup

from anyio_ws import (
    Close,
    ConnectionClosed,
    ConnectionClosedOK,
    ReconnectFailure,
    ReconnectPolicy,
    State,
    WebSocket,
)
from anyio_ws.cli import signals
from anyio_ws.cli.descriptors import read
from anyio_ws.cli.reaching import Exit, Failure, Target, ended, handshake, prepare_streams
from anyio_ws.cli.screen import PromptLike, Screen
from anyio_ws.cli.shown import Output
from anyio_ws.cli.source import BadInput, Source, as_message
from anyio_ws.events import Binary, Closed, Event, Text

__all__ = ["run"]

STDIN = 0

EOF_WAIT = 1.0
"""Seconds to wait for answers after the end of the input, where nothing else is said."""

POLICY = ReconnectPolicy()

MISSING = "for line editing and history, install prompt_toolkit: pip install 'anyio-ws[cli]'"


class Session:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace, target: Target) -> None:
        self._arguments = arguments
        self._target = target
        typed = sys.stdin is not None and sys.stdin.isatty()
        seen = sys.stdout is not None and sys.stdout.isatty()
        self._interactive = typed and seen and not arguments.raw
        self._screen = Screen()
        self._output = Output(
            raw=arguments.raw,
            json=arguments.json,
            hex=arguments.hex,
            decompress=arguments.decompress,
            null=arguments.null,
            timings=arguments.timings,
            timestamps=arguments.timestamps,
            terminal=seen,
        )
        self._prompt: PromptLike | None = None
        self._source: Source | PromptLike = Source(partial(read, STDIN), null=arguments.null)
        self._lines_read = 0
        self._eof_wait = arguments.eof_wait
        if self._eof_wait is None:
            waited = math.inf if arguments.max_messages else EOF_WAIT
            self._eof_wait = 0.0 if typed else waited
        self._unsent: str | bytes | None = None
        self._left_to_show: int | None = arguments.max_messages
        self._tasks: TaskGroup
        self._talk: anyio.CancelScope | None = None  # while the connection is open
        self._leaving = False  # it's we who end it
        self._enough = False  # and it doesn't matter how it goes on
        self._using = False  # there is a connection
        self._prompting = False
        self._output_gone = False
        self._signal: int | None = None
        self._failure: Failure | None = None

    async def run(self, *numbers: Signals) -> int:
        """Connect and talk, until it ends or the signals *numbers* end it; the exit code."""
        with anyio.open_signal_receiver(*numbers) as received:
            signals.release()
            if self._interactive and not self._arguments.no_input:
                self._set_prompt()
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._heed, received)
                await (self._connect_again() if self._arguments.reconnect else self._connect())
                self._tasks.cancel_scope.cancel()
        if self._prompt is not None:
            lines = self._prompt.waiting + (self._unsent is not None)
            if lines:
                self._screen.say(f"* not sent: {lines} of the lines that were typed")
        if self._failure is not None:
            raise self._failure
        return Exit.OK if self._signal is None else 128 + self._signal

    def _set_prompt(self) -> None:
        try:
            from prompt_toolkit.utils import is_dumb_terminal

            from anyio_ws.cli.prompt import Prompt, history_file
        except ModuleNotFoundError as exc:
            if not f"{exc.name}.".startswith("prompt_toolkit."):
                raise
            self._screen.say(MISSING)
            return
        if not is_dumb_terminal():
            history = None if self._arguments.no_history else history_file()
            self._prompt = Prompt(history=history, complain=self._screen.say)
            self._source = self._prompt
            self._screen.set_prompt(self._prompt)

    # What ends it.

    async def _heed(self, received: AsyncIterator[Signals]) -> None:
        async for number in received:
            self._interrupt(number)

    def _interrupt(self, number: int) -> None:
        if self._signal is None:
            self._signal = number
        if self._talk is None:  # not open yet, or closing already
            self._tasks.cancel_scope.cancel()
        else:
            self._leave()

    def _leave(self, why: Failure | None = None) -> None:
        """Close the connection, in order."""
        self._leaving = self._enough = True
        if self._failure is None:
            self._failure = why
        if self._talk is not None:
            self._talk.cancel()

    # The connection.

    async def _connect(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                ws = await self._target.open(stack, self._remark)
            except Failure as exc:
                self._failure = exc
                return
            await self._use(ws)

    async def _connect_again(self) -> None:
        """Connect again and again, until it's we who end it, or there is no hope."""
        try:
            async for attempt in self._target.attempts(self._decide):
                async with attempt as ws:
                    await self._use(ws)
                if self._leaving:
                    return
        except Exception as exc:
            try:
                self._target.fail(exc, self._remark)
            except Failure as why:
                self._failure = why
            else:
                raise

    def _decide(self, failed: ReconnectFailure) -> float | None:
        """Ask the policy, and tell the user what comes of it."""
        delay = POLICY(failed)
        if delay is not None and failed.error is not None:
            why = self._target.failure(failed.error) or failed.error
            self._screen.say(f"* {why}; connecting again in {delay:.1f} seconds")
        return delay

    async def _use(self, ws: WebSocket) -> None:
        """Talk on a connection that is open, and close it."""
        self._remark(*handshake(ws.request, ws.response))
        if self._interactive or self._arguments.verbose:
            subprotocol = f", subprotocol {ws.subprotocol}" if ws.subprotocol else ""
            key = (
                "Ctrl-C" if self._arguments.no_input else "Ctrl-D"
            )  # which is the end of the input
            hint = f"; {key} closes" if self._interactive else ""
            self._screen.say(f"* connected to {self._target}{subprotocol}{hint}")
        if self._prompt is not None and not self._prompting:
            self._prompting = True
            self._tasks.start_soon(self._run_prompt, self._prompt)
        self._using = True
        async with anyio.create_task_group() as tasks:
            self._talk = tasks.cancel_scope
            tasks.start_soon(self._send_all, ws)
            await self._show_all(ws)
            tasks.cancel_scope.cancel()
        self._talk = None
        self._judge(ws)
        if self._prompt is not None and (self._leaving or not self._arguments.reconnect):
            await self._prompt.end()
        await ws.aclose(self._arguments.close_code, self._arguments.close_reason)
        await self._show_end(ws)
        self._using = False

    async def _run_prompt(self, prompt: PromptLike) -> None:
        await prompt.run(partial(self._interrupt, signal.SIGINT))
        if not self._using:  # there is no connection to close
            self._tasks.cancel_scope.cancel()

    def _remark(self, *lines: str) -> None:
        """Say what belongs to -v; -vv has it in the log."""
        if self._arguments.verbose == 1:
            for line in lines:
                self._screen.say(line)

    def _judge(self, ws: WebSocket) -> None:
        """Find out whether the connection ended well, if it has ended."""
        if ws.state is State.OPEN or self._enough:
            return
        try:
            ws.receive_nowait()
        except ConnectionClosedOK:
            pass
        except ConnectionClosed as exc:
            # It's ours to say with which code we close, and most peers repeat it. And one that
            # doesn't answer has no say in that.
            close = exc.rcvd
            if not self._leaving and self._arguments.reconnect:
                return  # the policy is asked
            if not self._leaving or (close and close.code != self._arguments.close_code):
                self._leave(Failure(ended(exc), Exit.BROKEN))
        except anyio.WouldBlock:
            pass

    async def _show_end(self, ws: WebSocket) -> None:
        code, reason = ws.close_code, ws.close_reason
        if self._failure is None and (self._interactive or self._arguments.verbose):
            self._screen.say(f"* closed: {Close(code or 1006, reason or '')}")
        await self._show(self._output.closed(code, reason))

    # What arrives.

    async def _show_all(self, ws: WebSocket) -> None:
        """Show what arrives, until there is no more, or nobody wants more."""
        await self._show(self._output.opened(str(self._target), ws.subprotocol))
        async with ws.events() as events:
            async for event in events:
                if self._arguments.verbose and not isinstance(event, Closed):
                    self._remark(_described(event))
                await self._show(self._output.event(event))
                if isinstance(event, Text | Binary) and self._left_to_show is not None:
                    self._left_to_show -= 1
                    if not self._left_to_show:
                        self._leave()

    async def _show(self, data: bytes) -> None:
        if not data or self._output_gone:
            return
        try:
            await self._screen.show(data)
        except BrokenPipeError:
            self._output_gone = True
            self._leave()  # who read it has read enough, as `| head` does
        except OSError as exc:
            self._output_gone = True
            self._leave(Failure(f"can't write the output: {exc.strerror or exc}", Exit.BROKEN))

    # What is sent.

    async def _send_all(self, ws: WebSocket) -> None:
        """Send what there is, wait for answers, and say goodbye."""
        try:
            for text in self._arguments.text:
                await ws.send(text)
            while (message := await self._next_message()) is not None:
                await ws.send(message)
                self._unsent = None
            await ws.flush()
            await anyio.sleep(self._eof_wait)
            self._leaving = True
            # What arrives before the peer's answer to this is still shown.
            await ws.send_eof(self._arguments.close_code, self._arguments.close_reason)
            await anyio.sleep(self._target.options.get("close_timeout", 10.0))
            self._leave()
        except ConnectionClosed:
            pass  # the other task finds that out, too

    async def _next_message(self) -> str | bytes | None:
        """The next message to send; None if there is no more."""
        if self._unsent is None:
            if self._arguments.no_input:
                await anyio.sleep_forever()
            self._unsent = await self._read()
        return self._unsent

    async def _read(self) -> str | bytes | None:
        while True:
            try:
                line = await self._source.next_line()
                if line is None:
                    return None
                self._lines_read += 1
                return as_message(
                    line, binary=self._arguments.binary, hexadecimal=self._arguments.hex
                )
            except BadInput as exc:
                if not self._interactive:
                    where = f"line {self._lines_read} of the input"
                    self._leave(Failure(f"{where}: {exc}", Exit.USAGE))
                    await anyio.sleep_forever()
                self._screen.say(f"not sent: {exc}")
            except OSError as exc:
                self._leave(Failure(f"can't read the input: {exc.strerror or exc}", Exit.USAGE))
                await anyio.sleep_forever()


def _described(event: Event) -> str:
    assert not isinstance(event, Closed)
    kind = type(event).__name__.lower()
    if isinstance(event, Text):
        number = len(event.data)
        return f"* received text, {number} character{'s' if number != 1 else ''}"
    if isinstance(event, Binary):
        number = len(event.data)
        return f"* received binary, {number} byte{'s' if number != 1 else ''}"
    return f"* received {kind} {event.data!r}"


def run(arguments: argparse.Namespace) -> int:
    """Connect and talk as the *arguments* say; the exit code."""
    prepare_streams(arguments.verbose)
    try:
        target = Target.of(arguments)
        with signals.held():
            session = partial(_run, arguments, target)
            return anyio.run(session, *signals.awaited("asyncio"), backend="asyncio")
    except Failure as exc:
        print(f"anyio-ws connect: {exc}", file=sys.stderr)
        return exc.code


async def _run(arguments: argparse.Namespace, target: Target, *numbers: Signals) -> int:
    return await Session(arguments, target).run(*numbers)
