"""P4. A slow consumer is never mistaken for a dead peer, and a dead peer is found in time."""

from __future__ import annotations

import logging
import time
from functools import partial

import anyio
import anyio.abc
import pytest

from anyio_ws import ConnectionClosedError, ConnectionClosedOK, WebSocket, open_websocket
from anyio_ws.sansio import Opcode, Side, State
from anyio_ws.testing import RawFrame, ScriptedPeer, memory_stream_pair

from ..websocket.helpers import URL, settle
from .links import Link

virtual = pytest.mark.usefixtures("virtual_time")


async def receive_all(ws: WebSocket) -> None:
    async for _ in ws:
        pass


def text(payload: str) -> RawFrame:
    return RawFrame(Opcode.TEXT, payload.encode())


async def answer_pings(peer: ScriptedPeer, *, after: float = 0) -> None:
    """Answer every Ping, *after* seconds, until the stream ends."""
    try:
        while True:
            frame = await peer.receive()
            if frame.opcode == Opcode.PING:
                await anyio.sleep(after)
                await peer.send(RawFrame(Opcode.PONG, frame.payload))
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


@virtual
class TestADeadPeer:
    @pytest.mark.parametrize(("interval", "patience"), [(20, 20), (3, 1), (0.5, 4)])
    async def test_is_found_after_interval_and_timeout_exactly(
        self, link: Link, interval: float, patience: float
    ) -> None:
        async with link.client_and_peer(ping_interval=interval, ping_timeout=patience) as (ws, _):
            begin = anyio.current_time()
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
            assert anyio.current_time() - begin == pytest.approx(interval + patience)
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert f"{patience:g} seconds" in str(caught.value.__cause__)
            assert caught.value.sent is not None
            assert caught.value.sent.code == 1011

    async def test_is_found_by_default_after_40_seconds(self, link: Link) -> None:
        async with link.server_and_peer() as (ws, _):
            begin = anyio.current_time()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
            assert anyio.current_time() - begin == pytest.approx(40)

    async def test_is_found_counting_from_the_last_byte(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
            begin = anyio.current_time()
            await anyio.sleep(7)
            await peer.send(text("still here"))
            assert await ws.receive() == "still here"
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
            assert anyio.current_time() - begin == pytest.approx(7 + 10 + 5)

    async def test_wakes_everybody_who_waits(self, link: Link) -> None:
        ended: list[str] = []

        async def wait(name: str, ws: WebSocket) -> None:
            try:
                await (ws.ping() if name == "ping" else ws.receive())
            except ConnectionClosedError:
                ended.append(name)

        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, _):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, "ping", ws)
                tasks.start_soon(wait, "receive", ws)
                await ws.wait_closed()
            assert sorted(ended) == ["ping", "receive"]

    async def test_costs_one_warning_without_a_traceback(
        self, link: Link, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            async with link.server_and_peer() as (ws, _):
                await ws.wait_closed()
        (record,) = caplog.records
        assert record.name == "anyio_ws.server"
        assert record.levelno == logging.WARNING
        assert "no answer to a ping within 20 seconds" in record.getMessage()
        assert record.exc_info is None

    async def test_costs_a_server_one_line(
        self, link: Link, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            async with link.serving(receive_all, ping_interval=10, ping_timeout=5) as server:
                async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
                    peer = ScriptedPeer(await link.secured_client(tcp), Side.CLIENT)
                    await peer.connect("/feed")
                    await anyio.sleep(60)
                    assert not server.connections
        (record,) = caplog.records
        assert record.levelno == logging.WARNING

    async def test_what_had_arrived_is_delivered_before_the_error(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
            await peer.send(text("one"), text("two"))
            await anyio.sleep(60)
            assert [await ws.receive(), await ws.receive()] == ["one", "two"]
            with pytest.raises(ConnectionClosedError):
                await ws.receive()

    async def test_is_not_looked_for_without_an_interval(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=None) as (ws, _):
            await anyio.sleep(80_000)
            assert ws.state is State.OPEN

    async def test_is_pinged_but_not_condemned_without_a_timeout(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=None) as (ws, peer):
            for expected in (10, 20, 30):
                assert (await peer.receive()).opcode == Opcode.PING
                assert anyio.current_time() == pytest.approx(expected, abs=0.1)
            assert ws.state is State.OPEN


@virtual
class TestALivePeer:
    @pytest.mark.parametrize("sign", ["message", "ping", "pong nobody asked for", "half a frame"])
    async def test_lives_by_whatever_it_sends(self, link: Link, sign: str) -> None:
        signs: dict[str, RawFrame | bytes] = {
            "message": text("x"),
            "ping": RawFrame(Opcode.PING, b"x"),
            "pong nobody asked for": RawFrame(Opcode.PONG, b"other"),
            "half a frame": RawFrame(Opcode.TEXT, bytes(100)).serialize(masked=False)[:1],
        }
        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
            async with ws.discard_incoming():
                await anyio.sleep(14.9)
                await peer.send(signs[sign])
                await anyio.sleep(14.9)  # as long again: from that on it is silent
                assert ws.close_code is None
                await anyio.sleep(0.2)
                assert ws.state is State.CLOSED

    async def test_that_answers_lives_for_ever(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(answer_pings, peer, after=4.9))
                await anyio.sleep(1000)
                assert ws.state is State.OPEN
                assert ws.latency >= 0
                tasks.cancel_scope.cancel()

    async def test_that_answers_before_the_stream_below_says_that_the_ping_left(self) -> None:
        class ReturnsLate(anyio.abc.ByteSendStream):
            async def send(self, item: bytes) -> None:
                await ours.send(item)
                await settle()

            async def aclose(self) -> None:
                await ours.aclose()

        ours, theirs = memory_stream_pair()
        peer = ScriptedPeer(theirs, Side.SERVER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.accept)
            async with open_websocket(
                URL, stream=(ours, ReturnsLate()), ping_interval=10, ping_timeout=5
            ) as ws:
                tasks.start_soon(answer_pings, peer)
                await anyio.sleep(100)
                assert ws.state is State.OPEN
                await anyio.aclose_forcefully(ws)

    async def test_that_talks_is_not_pinged(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
            async with ws.discard_incoming():
                for _ in range(20):
                    await anyio.sleep(9)
                    await peer.send(text("x"))
            assert ws.state is State.OPEN
            await peer.send(RawFrame(Opcode.PING, b"mine"))
            answer = await peer.receive()
            assert (answer.opcode, answer.payload) == (Opcode.PONG, b"mine")


@virtual
class TestASlowConsumer:
    async def test_is_not_a_dead_peer(self, link: Link) -> None:
        """The clock stands still while reading is paused because the application doesn't receive."""
        async with link.client_and_peer(ping_interval=10, ping_timeout=5, max_queue=4) as (
            ws,
            peer,
        ):
            await peer.send(*[text(str(number)) for number in range(200)])
            await anyio.sleep(1000)
            assert ws.state is State.OPEN
            assert [await ws.receive() for _ in range(200)] == [
                str(number) for number in range(200)
            ]

    async def test_is_not_a_dead_peer_when_messages_come_with_the_handshake(
        self, link: Link
    ) -> None:
        async with link.client_and_peer(
            at_once=[text("x")] * 200, ping_interval=10, ping_timeout=5, max_queue=4
        ) as (ws, _):
            await anyio.sleep(1000)
            assert ws.state is State.OPEN
            assert [await ws.receive() for _ in range(200)] == ["x"] * 200

    async def test_gives_the_peer_a_full_timeout_again(self, link: Link) -> None:
        async with link.client_and_peer(ping_interval=10, ping_timeout=5, max_queue=1) as (
            ws,
            peer,
        ):
            await anyio.sleep(14)  # pinged, and one second left
            await peer.send(*[text("x")] * 5)
            await anyio.sleep(1000)
            for _ in range(5):
                await ws.receive()
            begin = anyio.current_time()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
            assert anyio.current_time() - begin == pytest.approx(15)

    async def test_that_is_busy_gets_everything_and_stays_connected(self, link: Link) -> None:
        async with link.connected(
            client={"ping_interval": 0.3, "ping_timeout": 0.3, "max_queue": 4},
            server={"ping_interval": None},
        ) as (client, server):
            got: list[str | bytes] = []
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    for number in range(200):
                        await server.send(f"{number}")

                tasks.start_soon(send)
                await anyio.sleep(1.2)
                while len(got) < 200:
                    got.append(await client.receive())
            assert got == [str(number) for number in range(200)]
            assert client.state is State.OPEN


class TestABlockedThread:
    async def test_does_not_condemn_a_healthy_peer(self, link: Link) -> None:
        """The verdict waits for one more read: what came meanwhile is there and wasn't read."""
        async with link.client_and_peer(ping_interval=0.1, ping_timeout=0.1) as (ws, peer):
            for _ in range(3):
                ping = await peer.receive()
                assert ping.opcode == Opcode.PING
                await peer.send(RawFrame(Opcode.PONG, ping.payload))
                time.sleep(0.4)  # noqa: ASYNC251  # as a program that blocks its thread does
                await settle()
                assert ws.state is State.OPEN


@virtual
class TestOutputThatWaits:
    async def test_a_ping_passes_behind_a_message_of_12_mib(self, link: Link) -> None:
        async with link.client_and_peer(small=True, ping_interval=10, ping_timeout=5) as (ws, peer):
            await ws.send(bytes(12 * 2**20))
            await anyio.sleep(10.5)
            seen: list[int] = []
            while Opcode.PING not in seen:
                seen.append((await peer.receive()).opcode)
            assert len(seen) <= 4  # of thirteen frames and a Ping

    async def test_a_peer_that_takes_nothing_may_just_be_slow(self, link: Link) -> None:
        """The ping hasn't left, so its clock doesn't run: TCP's own limit decides."""
        async with link.client_and_peer(small=True, ping_interval=10, ping_timeout=5) as (ws, peer):
            await ws.send(bytes(2**20))
            await anyio.sleep(10_000)
            assert ws.state is State.OPEN
            assert len((await peer.receive()).payload) == 2**20

    async def test_a_limit_can_be_set_for_that(self, link: Link) -> None:
        async with link.client_and_peer(small=True, write_timeout=30) as (ws, _):
            await ws.send(bytes(2**20))
            begin = anyio.current_time()
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.flush()
            assert 30 <= anyio.current_time() - begin <= 60
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert "30 seconds" in str(caught.value.__cause__)

    async def test_output_that_makes_progress_has_no_limit(self, link: Link) -> None:
        async with link.client_and_peer(small=True, write_timeout=10, ping_interval=None) as (
            ws,
            peer,
        ):
            await ws.send(bytes(2**20))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.flush)
                received = 0
                while received < 2**20:
                    await anyio.sleep(1)
                    received += len(await peer.stream.receive(2**15))
            assert ws.state is State.OPEN


@virtual
async def test_a_connection_that_is_closing_is_not_pinged(link: Link) -> None:
    async with link.client_and_peer(ping_interval=10, ping_timeout=5) as (ws, peer):
        await ws.send_eof()
        await anyio.sleep(100)
        assert (await peer.receive()).opcode == Opcode.CLOSE
        await peer.send(RawFrame(Opcode.CLOSE, b"\x03\xe8"))
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()
