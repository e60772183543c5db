"""Messages as they arrive, fragment by fragment, among the events: ``events(fragments=True)``."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws.events import Closed, Fragment, FragmentEvent, Ping, Pong
from anyio_ws.inbox import Inbox
from anyio_ws.sansio import Fragment as ProtocolFragment
from anyio_ws.sansio import Frame, Opcode

from ..sansio.helpers import Raw, binary, close, more, ping, pong, text
from .helpers import client_and_peer, connected, server_and_peer, settle

SCRIPT = [
    text("whole"),
    text("zw\xf6lf ".encode()[:3], fin=False),
    ping(b"1"),
    more("zw\xf6lf ".encode()[3:], fin=False),
    pong(b"2"),
    ping(b"3"),
    more("", fin=False),
    more("Boxk\xe4mpfer", fin=True),
    binary(b"\xff", fin=False),
    more(b"", fin=True),
    ping(b"4"),
    binary(b"end"),
    close(1000, "bye"),
]

EVENTS: list[FragmentEvent] = [
    Fragment("whole", final=True),
    Fragment("zw", final=False),
    Ping(b"1"),
    Fragment("\xf6lf ", final=False),
    Pong(b"2"),
    Ping(b"3"),
    Fragment("", final=False),
    Fragment("Boxk\xe4mpfer", final=True),
    Fragment(b"\xff", final=False),
    Fragment(b"", final=True),
    Ping(b"4"),
    Fragment(b"end", final=True),
    Closed(1000, "bye"),
]


@pytest.mark.parametrize("open_one", [client_and_peer, server_and_peer])
@pytest.mark.parametrize("at_once", [True, False])
async def test_fragments_come_in_their_order_with_pings_and_pongs_and_the_end(
    open_one: type, at_once: bool
) -> None:
    async with open_one() as (ws, peer):
        async with ws.events(fragments=True) as events:
            received: list[FragmentEvent] = []
            if at_once:
                await peer.send(*SCRIPT)
                await settle()
            for raw in SCRIPT:
                if not at_once:
                    await peer.send(raw)
                received.append(await events.receive())
            assert received == EVENTS
            with pytest.raises(anyio.EndOfStream):
                await events.receive()


async def test_what_arrived_before_the_block_comes_in_fragments_too() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("a", fin=False), more("b", fin=True), text("c", fin=False))
        await settle()
        async with ws.events(fragments=True) as events:
            await peer.send(ping(), more("d", fin=True))
            assert [await events.receive() for _ in range(5)] == [
                Fragment("a", final=False),
                Fragment("b", final=True),
                Fragment("c", final=False),
                Ping(b""),
                Fragment("d", final=True),
            ]


async def test_a_fragment_is_there_before_the_message_is() -> None:
    async with connected() as (client, server):
        async with server.events(fragments=True) as events:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, ["one", "two"])
                assert await events.receive() == Fragment("one", final=False)
                assert await events.receive() == Fragment("two", final=False)
                assert await events.receive() == Fragment("", final=True)


async def test_messages_that_were_not_begun_are_left_whole_and_without_their_pings() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"))
        async with ws.events(fragments=True) as events:
            await peer.send(text("2", fin=False), ping(), more("3", fin=True), pong())
            await peer.send(binary(b"4", fin=False), ping(), ping())
            await settle()
            assert await events.receive() == Fragment("1", final=True)
        await peer.send(more(b"5", fin=True))
        assert await ws.receive() == "23"
        assert await ws.receive() == b"45"


@pytest.mark.parametrize("arrived", [True, False])
async def test_the_rest_of_a_message_that_was_begun_is_discarded(arrived: bool) -> None:
    rest = [ping(), more("2", fin=False), more("3", fin=True)]
    async with server_and_peer() as (ws, peer):
        async with ws.events(fragments=True) as events:
            await peer.send(text("1", fin=False), *(rest if arrived else ()))
            assert await events.receive() == Fragment("1", final=False)
            await settle()
        if not arrived:
            await peer.send(*rest)
        await peer.send(text("next"))
        assert await ws.receive() == "next"


async def test_a_message_that_was_taken_whole_is_not_begun() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.events(fragments=True) as events:
            await peer.send(text("1", fin=False), more("2", fin=True), text("3", fin=False))
            assert [await events.receive() for _ in range(2)] == [
                Fragment("1", final=False),
                Fragment("2", final=True),
            ]
        await peer.send(more("4", fin=True))
        assert await ws.receive() == "34"


async def test_fragments_that_arrived_before_a_violation_come_first() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.events(fragments=True) as events:
            await peer.send(text("1", fin=False), ping(b"!"), Raw(0x3))
            assert [event async for event in events] == [
                Fragment("1", final=False),
                Ping(b"!"),
                Closed(1006, ""),
            ]


async def test_a_flood_of_pings_in_a_message_stops_reading_until_they_are_taken() -> None:
    pings = 500
    async with server_and_peer(max_queue=10) as (ws, peer):
        async with ws.events(fragments=True) as events, anyio.create_task_group() as tasks:
            flood = [text("a", fin=False), *[ping()] * pings, more("b", fin=True)]
            tasks.start_soon(peer.send, *flood)
            await settle()
            assert ws._connection.inbox.count <= 11
            assert [await events.receive() for _ in flood] == [
                Fragment("a", final=False),
                *[Ping(b"")] * pings,
                Fragment("b", final=True),
            ]


# -- the inbox


def frame_of(number: int) -> Frame:
    return Frame(Opcode.PING, str(number).encode())


messages = st.lists(
    st.one_of(
        st.text(max_size=3),
        st.integers(0, 9).map(frame_of),
        st.lists(st.text(max_size=3) | st.integers(0, 9).map(frame_of), min_size=1, max_size=200),
    ),
    max_size=8,
)


def parts(message: str | Frame | list[str | Frame]) -> Iterator[ProtocolFragment | Frame]:
    if isinstance(message, str):
        yield ProtocolFragment(message, final=True)
    elif isinstance(message, Frame):
        yield message
    else:
        yield ProtocolFragment("", final=False)
        for part in message:
            yield part if isinstance(part, Frame) else ProtocolFragment(part, final=False)
        yield ProtocolFragment("", final=True)


def merged(given: list[ProtocolFragment | Frame]) -> list[ProtocolFragment | Frame]:
    """Boundaries between fragments have no meaning."""
    result: list[ProtocolFragment | Frame] = []
    for part in given:
        last = result[-1] if result else None
        goes_on = isinstance(last, ProtocolFragment) and not last.final
        if isinstance(part, ProtocolFragment) and goes_on:
            data = [one.data for one in (last, part) if isinstance(one, ProtocolFragment)]
            result[-1] = ProtocolFragment("".join(map(str, data)), part.final)
        else:
            result.append(part)
    return result


@settings(max_examples=200)
@given(messages, st.lists(st.integers(0, 3), max_size=300))
def test_the_inbox_gives_parts_in_order_and_is_empty_afterwards(
    script: list[str | Frame | list[str | Frame]], takes: list[int]
) -> None:
    inbox = Inbox()
    given_in: list[ProtocolFragment | Frame] = []
    taken: list[ProtocolFragment | Frame] = []
    pending = iter(takes)
    for message in script:
        for part in parts(message):
            given_in.append(part)
            if isinstance(part, Frame):
                inbox.add_control(part, between_fragments=True)
            elif isinstance(message, str):
                inbox.add(message)
            else:
                inbox.add_fragment(part)
            for _ in range(next(pending, 0)):
                if (first := inbox.first_part()) is not None:
                    taken.append(first)
                    inbox.take_part()
    while (first := inbox.first_part()) is not None:
        taken.append(first)
        inbox.take_part()
    assert merged(taken) == merged(given_in)
    assert (inbox.count, inbox.size) == (0, 0)


@settings(max_examples=200)
@given(messages, st.integers(0, 30))
def test_without_its_controls_the_inbox_has_whole_messages(
    script: list[str | Frame | list[str | Frame]], taken: int
) -> None:
    inbox = Inbox()
    for message in script:
        for part in parts(message):
            if isinstance(part, Frame):
                inbox.add_control(part, between_fragments=True)
            elif isinstance(message, str):
                inbox.add(message)
            else:
                inbox.add_fragment(part)
    in_message = False
    finished = 0
    for _ in range(taken):
        if (first := inbox.first_part()) is not None:
            inbox.take_part()
            if isinstance(first, ProtocolFragment):
                in_message = not first.final
                finished += first.final
    inbox.drop_controls()
    if in_message:
        inbox.skip()
        finished += 1
    whole = [
        message
        if isinstance(message, str)
        else "".join(part for part in message if isinstance(part, str))
        for message in script
        if not isinstance(message, Frame)
    ]
    assert [inbox.take() for _ in range(inbox.count)] == whole[finished:]
    assert (inbox.count, inbox.size) == (0, 0)
