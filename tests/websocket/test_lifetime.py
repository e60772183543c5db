"""``max_lifetime`` and ``idle_timeout``: exact or bounded, whatever peer and application do or don't."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from anyio_ws import ConnectionClosedError, ConnectionClosedOK, WebSocket, open_server
from anyio_ws.lifetime import Lifetime, Over, Traffic
from anyio_ws.options import ServerConfig
from anyio_ws.sansio import Opcode, State
from anyio_ws.testing import RawFrame, ScriptedPeer, handshake_request

from .helpers import client_and_peer, server_and_peer, settle

virtual = pytest.mark.usefixtures("virtual_time")

GOODBYE = b"\x03\xe9maximum lifetime reached"


def text(payload: str) -> RawFrame:
    return RawFrame(Opcode.TEXT, payload.encode())


async def closing_of(ws: WebSocket) -> float:
    """Wait until *ws* is being closed; return when that was, give or take a tenth of a second."""
    while ws.state is State.OPEN:  # noqa: ASYNC110  # without a task that waits for it
        await anyio.sleep(0.1)
    return anyio.current_time()


async def receive_all(ws: WebSocket, error: type[Exception]) -> list[str | bytes]:
    """Receive until that raises *error*."""
    received: list[str | bytes] = []
    try:
        while True:
            received.append(await ws.receive())
    except error:
        return received


async def end_of(peer: ScriptedPeer) -> float:
    """Read until the connection ends, however it does; return when that was."""
    try:
        while True:
            await peer.stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return anyio.current_time()


# -- the policy


def policy(*, most: float | None = None, idle: float | None = None) -> Lifetime:
    """The policy of a connection that is opened at 100."""
    return Lifetime(ServerConfig(max_lifetime=most, idle_timeout=idle), 100, traffic())


def traffic(
    messages: int = 0,
    *,
    received: int = 0,
    sent: int = 0,
    waiting: bool = False,
    arriving: bool = False,
    leaving: bool = False,
) -> Traffic:
    return Traffic(messages, received, sent, waiting, arriving, leaving)


def idle_at(one: Lifetime, now: Callable[[float], Traffic]) -> float:
    """When it finds the connection idle, which at each time has the traffic that *now* gives."""
    for _ in range(10_000):
        when = one.alarm
        assert when is not None
        if (over := one.over(when, now(when))) is not None:
            assert over is Over.IDLE
            return when
    raise AssertionError("it is never idle")


def test_the_end_of_a_lifetime_is_exact() -> None:
    one = policy(most=50)
    assert one.alarm == 150
    assert one.over(149.9, traffic()) is None
    assert one.over(150, traffic(1000, waiting=True)) is Over.LIFETIME


def test_one_that_nothing_bounds_has_no_alarm() -> None:
    assert policy().alarm is None


def test_one_that_was_never_used_is_idle_exactly_then() -> None:
    assert idle_at(policy(idle=60), lambda when: traffic()) == 160


@pytest.mark.parametrize("last", [0.0, 0.1, 14.9, 15.0, 15.1, 31, 59.9, 60, 61, 74.99, 3600.5])
def test_idleness_is_noticed_late_by_a_quarter_and_never_early(last: float) -> None:
    """Messages come every second, the last one at *last*."""
    found = idle_at(policy(idle=60), lambda when: traffic(int(min(when - 100, last) * 1000)))
    assert 60 <= found - 100 - last <= 75 or last == 0


@pytest.mark.parametrize("until", [3.0, 47.0, 1000.0])
def test_while_messages_wait_to_be_received_it_is_not_idle(until: float) -> None:
    found = idle_at(policy(idle=60), lambda when: traffic(1, waiting=when - 100 < until))
    assert 60 <= found - 100 - until <= 75


@pytest.mark.parametrize("direction", ["in", "out"])
def test_the_bytes_of_a_message_on_its_way_count(direction: str) -> None:
    def now(when: float) -> Traffic:
        size = int(min(when - 100, 1000) * 10)
        if direction == "in":
            return traffic(received=size, arriving=size < 10_000)
        return traffic(sent=size, leaving=size < 10_000)

    assert 1060 <= idle_at(policy(idle=60), now) - 100 <= 1075


def test_the_bytes_of_pings_and_pongs_do_not() -> None:
    def now(when: float) -> Traffic:
        return traffic(received=int(when), sent=int(when))

    assert idle_at(policy(idle=60), now) == 160


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_message_on_its_way_that_does_not_move_is_idle(direction: str) -> None:
    """Not even if pings go in the other direction."""

    def now(when: float) -> Traffic:
        if direction == "in":
            return traffic(received=3, sent=int(when), arriving=when > 100)
        return traffic(received=int(when), sent=3, leaving=when > 100)

    one = Lifetime(ServerConfig(idle_timeout=60), 100, now(100))
    assert 160 <= idle_at(one, now) <= 175


def test_one_that_is_closing_is_not_idle_but_its_lifetime_ends() -> None:
    one = policy(most=100, idle=60)
    one.closing()
    assert one.alarm == 200
    assert one.over(190, traffic()) is None
    assert one.over(200, traffic()) is Over.LIFETIME


# -- max_lifetime


@virtual
async def test_after_its_lifetime_a_connection_is_closed_with_1001() -> None:
    async with server_and_peer(max_lifetime=100, close_timeout=10, ping_interval=None) as (
        ws,
        peer,
    ):
        begin = anyio.current_time()
        frame = await peer.receive()
        assert anyio.current_time() - begin == pytest.approx(100)
        assert (frame.opcode, frame.payload) == (Opcode.CLOSE, GOODBYE)
        assert ws.state is State.CLOSING
        with pytest.raises(anyio.ClosedResourceError):
            await ws.send("too late")
        await peer.send(text("on its way"), RawFrame(Opcode.CLOSE, GOODBYE))
        assert [message async for message in ws] == ["on its way"]
        with pytest.raises(ConnectionClosedOK) as caught:
            await ws.receive()
        assert caught.value.sent is not None
        assert caught.value.sent.reason == "maximum lifetime reached"


@virtual
async def test_the_lifetime_of_a_client_is_bounded_as_well() -> None:
    async with client_and_peer(max_lifetime=100, close_timeout=10, ping_interval=None) as (
        ws,
        peer,
    ):
        assert (await peer.receive()).payload == GOODBYE
        await peer.send(RawFrame(Opcode.CLOSE, GOODBYE))
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


@virtual
@pytest.mark.parametrize("interval", [7, None])
async def test_traffic_does_not_prolong_a_lifetime(interval: float | None) -> None:
    async with server_and_peer(max_lifetime=100, ping_interval=interval) as (ws, peer):
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:

            async def talk() -> None:
                while True:
                    await peer.send(text("x"))
                    await anyio.sleep(3)

            tasks.start_soon(talk)
            async with ws.discard_incoming():
                assert await closing_of(ws) - begin == pytest.approx(100, abs=0.11)
            tasks.cancel_scope.cancel()


@virtual
@pytest.mark.parametrize("waiting", [0, 200])
@pytest.mark.parametrize("answers", [False, True])
async def test_a_handler_that_never_receives_does_not_prolong_it(
    waiting: int, answers: bool
) -> None:
    """With 200 messages reading is paused, also of the peer's Close; what has arrived can be received."""
    async with server_and_peer(
        max_lifetime=100, close_timeout=10, max_queue=4, ping_interval=20, ping_timeout=20
    ) as (ws, peer):
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            if waiting:
                await peer.send(*[text(str(number)) for number in range(waiting)])
            else:
                tasks.start_soon(answer_pings, peer)
            await anyio.sleep(99)
            assert ws.state is State.OPEN
            await anyio.sleep(2)
            assert ws.state is not State.OPEN
            if answers:
                await peer.send(RawFrame(Opcode.CLOSE, GOODBYE))
            tasks.cancel_scope.cancel()
        assert await end_of(peer) - begin <= 110.1
        unheard = waiting or not answers
        received = await receive_all(ws, ConnectionClosedError if unheard else ConnectionClosedOK)
        assert received[:5] == [str(number) for number in range(min(5, waiting))]


async def answer_pings(peer: ScriptedPeer) -> None:
    """Answer every Ping, until a Close frame comes."""
    while (frame := await peer.receive()).opcode != Opcode.CLOSE:
        if frame.opcode == Opcode.PING:
            await peer.send(RawFrame(Opcode.PONG, frame.payload))


@virtual
async def test_a_peer_that_does_not_answer_is_aborted_after_the_close_timeout() -> None:
    async with server_and_peer(max_lifetime=100, close_timeout=7, ping_interval=None) as (ws, peer):
        begin = anyio.current_time()
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert anyio.current_time() - begin == pytest.approx(107)
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert await end_of(peer) - begin == pytest.approx(107)


@virtual
async def test_one_that_is_closing_already_ends_with_its_lifetime() -> None:
    async with server_and_peer(
        max_lifetime=100, idle_timeout=5, close_timeout=7, ping_interval=None
    ) as (ws, peer):
        begin = anyio.current_time()
        await ws.send_eof(1000)
        assert await end_of(peer) - begin == pytest.approx(100)


@virtual
async def test_one_that_was_closed_before_is_left_alone() -> None:
    async with server_and_peer(max_lifetime=100, close_timeout=10, ping_interval=None) as (
        ws,
        peer,
    ):
        await peer.send(RawFrame(Opcode.CLOSE, b"\x03\xe8"))
        assert (await peer.receive()).payload == b"\x03\xe8"
        await peer.stream.aclose()
        await anyio.sleep(1000)
        assert ws.close_code == 1000


@virtual
async def test_a_server_says_so_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def wait(ws: WebSocket) -> None:
        await ws.wait_closed()

    caplog.set_level(logging.INFO)
    async with open_server(wait, "127.0.0.1", 0, max_lifetime=30) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(handshake_request("/"))
            await anyio.sleep(29)
            assert server.statistics().open == 1
            await anyio.sleep(12)
            assert server.statistics().closed == {1006: 1}
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "closing",
        "connection broke",
    ]
    assert all(hasattr(record, "connection_id") for record in caplog.records)


# -- idle_timeout


@virtual
@pytest.mark.parametrize("last", [0, 1, 33, 59, 200])
@pytest.mark.parametrize("who", ["peer", "we"])
async def test_a_connection_without_messages_is_closed_in_time(who: str, last: int) -> None:
    async with server_and_peer(idle_timeout=60, close_timeout=10, ping_interval=20) as (ws, peer):
        begin = anyio.current_time()
        closed: list[float] = []

        async def read() -> None:
            while (frame := await peer.receive()).opcode != Opcode.CLOSE:
                if frame.opcode == Opcode.PING:
                    await peer.send(RawFrame(Opcode.PONG, frame.payload))
            closed.append(anyio.current_time())
            assert frame.payload == b"\x03\xe9idle timeout"
            await peer.send(RawFrame(Opcode.CLOSE, frame.payload))

        async def talk() -> None:
            while anyio.current_time() - begin < last:
                await (ws.send("x") if who == "we" else peer.send(text("x")))
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(talk)
            await receive_all(ws, ConnectionClosedOK)
        assert 60 <= closed[0] - begin - max(0, last - 1) <= 75.1


@virtual
@pytest.mark.parametrize("buffer", [None, 2**16], ids=["socket", "stream"])
async def test_pings_of_either_side_do_not_keep_it(buffer: int | None) -> None:
    """Not even one that leaves, over a stream, at the moment of a look."""
    async with server_and_peer(
        buffer=buffer, idle_timeout=60, close_timeout=10, ping_interval=5
    ) as (ws, peer):
        begin = anyio.current_time()

        async def ping() -> None:
            while ws.state is State.OPEN:
                await peer.send(RawFrame(Opcode.PING, b"x"))
                await anyio.sleep(3)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            tasks.start_soon(answer_pings, peer)
            assert 60 <= await closing_of(ws) - begin <= 75.2


@virtual
@pytest.mark.parametrize("count", [3, 200])
async def test_a_slow_consumer_is_not_idle(count: int) -> None:
    """Neither with messages that are here, nor with those that wait outside because reading is paused."""
    async with server_and_peer(
        idle_timeout=60, close_timeout=10, max_queue=8, ping_interval=20, ping_timeout=20
    ) as (
        ws,
        peer,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_pings, peer)
            await peer.send(*[text(str(number)) for number in range(count)])
            for number in range(count):
                await anyio.sleep(100 if count < 10 or number % 50 == 0 else 0.1)
                assert await ws.receive() == str(number)
            begin = anyio.current_time()
            assert 60 <= await closing_of(ws) - begin <= 75.2


@virtual
async def test_a_long_message_on_its_way_is_not_idle_until_it_stalls() -> None:
    async with server_and_peer(idle_timeout=60, ping_interval=None) as (ws, peer):
        frame = RawFrame(Opcode.BINARY, bytes(1000)).serialize(masked=True)
        for part in range(0, 500, 10):
            await peer.send(frame[part : part + 10])
            await anyio.sleep(20)
        assert ws.state is State.OPEN
        begin = anyio.current_time() - 20
        assert 60 <= await closing_of(ws) - begin <= 75.2


@virtual
async def test_fragments_of_a_message_keep_it() -> None:
    async with server_and_peer(idle_timeout=60, ping_interval=None) as (ws, peer):
        await peer.send(RawFrame(Opcode.TEXT, b"a", fin=False))
        for _ in range(20):
            await anyio.sleep(50)
            await peer.send(RawFrame(Opcode.CONT, b"b", fin=False))
        assert ws.state is State.OPEN


@virtual
async def test_a_message_that_is_taken_slowly_is_not_idle_until_it_stalls() -> None:
    async with server_and_peer(
        buffer=2**13, idle_timeout=60, close_timeout=5, ping_interval=None
    ) as (ws, peer):
        await ws.send(bytes(2**20))
        for _ in range(10):
            await anyio.sleep(50)
            for _ in range(16):  # streams of others take 64 KiB at a time
                await peer.stream.receive(2**12)
        assert ws.state is State.OPEN
        begin = anyio.current_time()
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert 65 <= anyio.current_time() - begin <= 80.1  # and the close_timeout


@virtual
async def test_without_a_timeout_a_connection_may_do_nothing_for_ever() -> None:
    async with server_and_peer(ping_interval=None) as (ws, peer):
        await anyio.sleep(80_000)
        await peer.send(text("still here"))
        assert await ws.receive() == "still here"


@virtual
async def test_the_application_that_closes_is_not_disturbed() -> None:
    async with server_and_peer(idle_timeout=2, close_timeout=10, ping_interval=None) as (ws, peer):
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(ws.aclose, 4000))
            await anyio.sleep(8)
            await settle()
            await peer.send(RawFrame(Opcode.CLOSE, b"\x0f\xa0"))
            await peer.stream.aclose()
        assert anyio.current_time() - begin == pytest.approx(8)
        assert ws.close_code == 4000
