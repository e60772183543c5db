"""Connecting again to a server that is another process, and is stopped and started again on its port."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest

from anyio_ws import ReconnectPolicy, reconnecting_websocket, websocket_events
from anyio_ws.events import BackOff, Disconnected, Ready, Text

from ..cli.helpers import PATIENCE, PYTHON, running

POLICY = ReconnectPolicy(initial=0.05, cap=0.1)


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


@asynccontextmanager
async def serving(port: int, *, end: signal.Signals) -> AsyncIterator[None]:
    command = [*PYTHON, "-m", "anyio_ws", "serve", "--echo", "--port", str(port)]
    quiet = subprocess.DEVNULL
    with running(*command, stdout=quiet, stderr=quiet) as process:
        yield
        process.send_signal(end)
        await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_server_that_ends_and_is_back(port: int, end: signal.Signals) -> None:
    ready = [anyio.Event() for _ in range(3)]
    errors: list[str] = []

    async def client() -> None:
        rounds = 0
        async for attempt in reconnecting_websocket(f"ws://127.0.0.1:{port}/", policy=POLICY):
            async with attempt as ws:
                errors.append(type(attempt.error).__name__)
                await ws.send(f"round {rounds}")
                assert await ws.receive() == f"round {rounds}"
                ready[rounds].set()
                rounds += 1
                if rounds == len(ready):
                    break
                async for message in ws:
                    raise AssertionError(message)

    with anyio.fail_after(3 * PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client)
            for one in ready:
                async with serving(port, end=end):
                    await one.wait()
    assert errors == ["ConnectError"] * 3  # refused each time, until it was there


async def test_its_life_is_told(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/"
    with anyio.fail_after(3 * PATIENCE):
        async with websocket_events(url, reconnect=POLICY) as events:
            for _ in range(2):
                async with serving(port, end=signal.SIGTERM):
                    async for event in events:
                        if isinstance(event, Ready):
                            await events.websocket.send("hello")
                        elif isinstance(event, Text):
                            break
                async for event in events:
                    if isinstance(event, Disconnected):
                        assert event.graceful
                        break
                assert isinstance(await events.receive(), BackOff)
