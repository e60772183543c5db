"""Servers whose connections are spoken by hand: `scripted_server`."""

# ruff: noqa: PT012  # blocks are the subject

from __future__ import annotations

import anyio
import pytest

from anyio_ws import (
    ConnectError,
    ConnectionClosedError,
    InvalidURI,
    ReconnectPolicy,
    open_websocket,
    reconnecting_websocket,
)
from anyio_ws.sansio import Opcode
from anyio_ws.testing import RawFrame, ScriptedPeer, cancel_sweep, scripted_server

from .helpers import CLOSE, HELLO

NOBODY = "ws://127.0.0.1:1"


async def greet(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.send(HELLO, CLOSE)
    await peer.receive()


async def test_each_connection_is_a_run_of_the_script() -> None:
    runs = 0

    async def count(peer: ScriptedPeer) -> None:
        nonlocal runs
        runs += 1
        await greet(peer)

    async with scripted_server(count) as url:
        assert url == "ws://app.test"
        policy = ReconnectPolicy().immediately()
        async for attempt in reconnecting_websocket(url, policy=policy):
            async with attempt as ws:
                assert await ws.receive() == "hello"
                if runs == 3:
                    break


async def test_it_takes_the_place_of_a_server_that_has_tls() -> None:
    async with scripted_server(greet, "wss://feed.example"):
        async with open_websocket("wss://feed.example/prices") as ws:
            assert [message async for message in ws] == ["hello"]


async def test_what_the_script_does_wrong_is_seen_by_the_client() -> None:
    async def misbehave(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(RawFrame(0x3))
        assert (await peer.receive()).opcode == Opcode.CLOSE

    async with scripted_server(misbehave, buffer=0, chunk=1) as url:
        async with open_websocket(url) as ws:
            with pytest.raises(ConnectionClosedError, match="opcode"):
                await ws.receive()


@pytest.mark.usefixtures("virtual_time")
async def test_a_script_that_goes_on_ends_with_the_block() -> None:
    cancelled: list[bool] = []

    async def stay(peer: ScriptedPeer) -> None:
        try:
            await peer.stay_silent()
        except anyio.get_cancelled_exc_class():
            cancelled.append(True)
            raise

    async with scripted_server(stay) as url:
        with pytest.raises(TimeoutError):
            async with open_websocket(url, open_timeout=5):
                pass
        assert anyio.current_time() == 5
        assert cancelled == []
    assert cancelled == [True]


async def test_what_a_script_raises_comes_out_of_the_block_in_the_end() -> None:
    error = AssertionError("not what was expected")

    async def fail(peer: ScriptedPeer) -> None:
        await peer.accept()
        raise error

    with pytest.raises(AssertionError) as caught:
        async with scripted_server(fail) as url:
            async with open_websocket(url) as ws:
                with pytest.raises(ConnectionClosedError):
                    await ws.receive()
    assert caught.value is error
    with pytest.raises(ExceptionGroup) as group:
        async with scripted_server(fail) as url:
            async with open_websocket(url) as ws:
                await ws.receive()
    assert group.value.exceptions[1] is error


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with scripted_server(greet):
            raise error
    assert caught.value is error


async def test_it_is_gone_after_the_block_wherever_that_is_cancelled() -> None:
    async def scenario() -> None:
        async with scripted_server(greet, NOBODY):
            async with open_websocket(NOBODY) as ws:
                await ws.receive()

    for attempt in cancel_sweep():
        await attempt.run(scenario())
        with pytest.raises(ConnectError):
            async with open_websocket(NOBODY):
                pass


async def test_what_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(InvalidURI):
        scripted_server(greet, "http://app.test")
    with pytest.raises(ValueError, match="chunk"):
        scripted_server(greet, chunk=0)
    context = scripted_server(greet)
    async with context:
        with pytest.raises(RuntimeError, match="only once"):
            await context.__aenter__()
