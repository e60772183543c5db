"""Compression on a connection: when there is any, for which messages, and what cancelling does to it."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest

from anyio_ws import ConnectionClosedError, WebSocket, accept_websocket, open_websocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    Close,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
    Side,
)
from anyio_ws.testing import RawFrame, ScriptedPeer, cancel_sweep, handshake_request

from ..sansio.helpers import BINARY, CONT, RSV1, TEXT, compressed, text
from .helpers import closing, connected, connection, settle

OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate")
TAIL = b"\x00\x00\xff\xff"
WORDS = "all the same words, "


def names(ws: WebSocket) -> list[str]:
    return [extension.name for extension in ws.extensions]


def deflate_of(ws: WebSocket) -> PerMessageDeflate:
    [extension] = ws.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


class PeerWithWindow:
    """A client made by hand that inflates what it receives, without any of our code."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self._inflater = zlib.decompressobj(-15)
        self._deflater = zlib.compressobj(wbits=-15)
        self._compressed = False

    async def receive(self) -> tuple[RawFrame, bytes]:
        """The next data frame and what it means."""
        raw = await self.peer.receive()
        if raw.opcode != CONT:
            self._compressed = raw.rsv == RSV1
        if not self._compressed:
            return raw, raw.payload
        return raw, self._inflater.decompress(raw.payload + TAIL * raw.fin)

    async def send(self, data: bytes) -> None:
        payload = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        await self.peer.send(compressed(payload.removesuffix(TAIL)))


class Pair:
    """A server's connection and such a client; an asynchronous context manager of both."""

    def __init__(self, *, buffer: int | None = None, **options: Any) -> None:
        self._buffer = buffer
        self._options: ServerOptions = {"close_timeout": 0, **options}  # type: ignore[typeddict-item]

    async def __aenter__(self) -> tuple[WebSocket, PeerWithWindow]:
        ours, theirs = await connection(self._buffer)
        peer = ScriptedPeer(theirs, Side.CLIENT)
        await peer.send(handshake_request("/", OFFER))
        self._closing = closing(theirs)
        await self._closing.__aenter__()
        self._accepting = accept_websocket(ours, **self._options)
        ws = await self._accepting.__aenter__()
        await peer.receive_head()
        return ws, PeerWithWindow(peer)

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._accepting.__aexit__(*exc_info)
        await self._closing.__aexit__(*exc_info)


# -- whether


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ({}, {}, ["permessage-deflate"]),
        ({"compression": "deflate"}, {"compression": "deflate"}, ["permessage-deflate"]),
        ({"compression": None}, {}, []),
        ({}, {"compression": None}, []),
        # A factory of one's own is what counts then, and there is no second one.
        (
            {"compression": None, "extensions": [ClientPerMessageDeflateFactory()]},
            {"compression": None, "extensions": [ServerPerMessageDeflateFactory()]},
            ["permessage-deflate"],
        ),
    ],
)
async def test_compression_is_on_by_default_and_can_be_switched_off_by_either_side(
    client: ClientOptions, server: ServerOptions, expected: list[str]
) -> None:
    async with connected(client=client, server=server) as (here, there):
        assert names(here) == names(there) == expected
        messages: list[str | bytes] = [WORDS * 50, "", WORDS, (WORDS * 50).encode()]
        for message in messages:
            await here.send(message)
            assert await there.receive() == message
            await there.send(message)
            assert await here.receive() == message


def test_other_values_of_the_option_are_refused() -> None:
    with pytest.raises(ValueError, match="compression"):
        open_websocket("ws://localhost/", compression="gzip")  # type: ignore[arg-type]  # that's it


async def test_a_factory_of_ones_own_replaces_the_default() -> None:
    async with connected(
        client={
            "extensions": [
                ClientPerMessageDeflateFactory(
                    server_max_window_bits=11, client_max_window_bits=True
                )
            ]
        },
        server={
            "extensions": [
                ServerPerMessageDeflateFactory(
                    server_no_context_takeover=True,
                    client_no_context_takeover=True,
                    server_max_window_bits=15,
                    client_max_window_bits=9,
                    level=1,
                    mem_level=9,
                    threshold=0,
                )
            ]
        },
    ) as (client, server):
        assert client.request.headers.get_all("Sec-WebSocket-Extensions") == [
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits"
        ]
        assert client.response.headers.get_all("Sec-WebSocket-Extensions") == [
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=11; client_max_window_bits=9"
        ]
        here, there = deflate_of(client), deflate_of(server)
        assert here.local_no_context_takeover
        assert here.remote_no_context_takeover
        assert here.local_max_window_bits == there.remote_max_window_bits == 9
        assert here.remote_max_window_bits == there.local_max_window_bits == 11
        for _ in range(3):
            await client.send(WORDS * 50)
            assert await server.receive() == WORDS * 50


# -- which messages


async def test_messages_are_compressed_unless_they_are_small_or_the_sender_says_no() -> None:
    async with Pair() as (ws, peer):
        big = WORDS * 10
        await ws.send(big)
        await ws.send("small")
        await ws.send(big, compress=False)
        ws.send_nowait(big.encode())
        ws.send_nowait(big.encode(), compress=False)
        seen = [await peer.receive() for _ in range(5)]
        assert [(raw.opcode, raw.rsv) for raw, _ in seen] == [
            (TEXT, RSV1),
            (TEXT, 0),
            (TEXT, 0),
            (BINARY, RSV1),
            (BINARY, 0),
        ]
        assert [data.decode() for _, data in seen] == [big, "small", big, big, big]
        assert len(seen[3][0].payload) < len(seen[0][0].payload) < len(big) // 2


@pytest.mark.parametrize("compress", [True, False])
async def test_a_fragmented_message_is_compressed_or_not_as_a_whole(compress: bool) -> None:
    async with Pair() as (ws, peer):
        await ws.send(["in ", "parts"], compress=compress)
        raw, data = await peer.receive()
        assert raw.rsv == (RSV1 if compress else 0)
        while not raw.fin:
            raw, more = await peer.receive()
            assert raw.rsv == 0
            data += more
        assert data == b"in parts"


async def test_a_message_longer_than_1_mib_is_compressed_as_one() -> None:
    data = bytes(3 * 2**20 + 1)
    async with connected(server={"max_size": None}) as (client, server):
        await client.send(data)
        assert client.buffered_amount < 10_000
        assert await server.receive() == data


@pytest.mark.parametrize("compress", [True, False])
async def test_fragments_that_come_from_an_iterator_arrive(compress: bool) -> None:
    async def parts() -> AsyncIterator[str]:
        for i in range(10):
            yield f"{WORDS}{i}"

    async with connected() as (client, server):
        for _ in range(2):
            await client.send(parts(), compress=compress)
            assert await server.receive() == "".join([f"{WORDS}{i}" for i in range(10)])


async def test_there_is_no_state_of_zlibs_before_the_first_compressed_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def watch(name: str) -> None:
        make = getattr(zlib, name)

        def watched(*args: Any) -> Any:
            made.append(name)
            return make(*args)

        monkeypatch.setattr(zlib, name, watched)

    watch("compressobj")
    watch("decompressobj")
    async with connected() as (client, server):
        await client.send("small")
        await client.send(WORDS * 10, compress=False)
        await server.receive()
        await server.receive()
        assert made == []
        await client.send(WORDS * 10)
        await server.receive()
        assert sorted(made) == ["compressobj", "decompressobj"]


# -- cancelling and failing


async def receive_all(peer: PeerWithWindow, found: list[bytes]) -> None:
    while True:
        found.append((await peer.receive())[1])


async def test_a_cancelled_send_leaves_the_window_as_the_peer_knows_it() -> None:
    swept = bytes(range(256)) * 2
    for attempt in cancel_sweep():
        async with Pair(buffer=200, write_limit=10) as (ws, peer):
            await ws.send(swept[::-1])
            found: list[bytes] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive_all, peer, found)
                await attempt.run(ws.send(swept))
                await ws.send(swept + b"after")
                await ws.send(WORDS * 10)
                await ws.flush()
                await settle()
                tasks.cancel_scope.cancel()
            assert found == [
                swept[::-1],
                *([] if attempt.cancelled else [swept]),
                swept + b"after",
                (WORDS * 10).encode(),
            ], attempt


async def test_a_cancelled_send_leaves_two_ends_of_ours_in_step() -> None:
    for attempt in cancel_sweep():
        async with connected(buffer=50, client={"write_limit": 10}) as (client, server):
            received: list[str | bytes] = []

            async def receive(ws: WebSocket, into: list[str | bytes]) -> None:
                async for message in ws:
                    into.append(message)

            async with anyio.create_task_group() as tasks:
                client.send_nowait(WORDS * 20)
                tasks.start_soon(receive, server, received)
                await attempt.run(client.send("swept " * 20 + WORDS))
                for i in range(3):
                    await client.send(f"swept {i} " * 20 + WORDS)
                await client.flush()
                await settle()
                tasks.cancel_scope.cancel()
            assert received == [
                WORDS * 20,
                *([] if attempt.cancelled else ["swept " * 20 + WORDS]),
                *(f"swept {i} " * 20 + WORDS for i in range(3)),
            ], attempt


async def test_a_send_that_fails_leaves_the_window_alone() -> None:
    async with connected() as (client, server):
        await client.send(WORDS * 10)
        with pytest.raises(TypeError):
            await client.send(5)  # type: ignore[arg-type]  # that's it
        with pytest.raises(TypeError):
            client.send_nowait(5)  # type: ignore[arg-type]  # that's it
        await client.send(WORDS * 11)
        assert await server.receive() == WORDS * 10
        assert await server.receive() == WORDS * 11


async def test_a_cancelled_receive_loses_nothing_that_was_compressed() -> None:
    for attempt in cancel_sweep():
        received: list[str | bytes | None] = []
        async with Pair() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, WORDS.encode() * 10)
                received = [await attempt.run(ws.receive())]
            if attempt.cancelled:
                received = [await ws.receive()]
            await peer.send(WORDS.encode() * 11)
            received.append(await ws.receive())
            assert received == [WORDS * 10, WORDS * 11], attempt


# -- limits


async def test_a_bomb_is_refused_at_the_limit_and_costs_no_more() -> None:
    async with Pair(max_size=2**20) as (ws, peer):
        await ws.send("ready")
        await peer.receive()
        deflater = zlib.compressobj(9, wbits=-15)
        bomb = deflater.compress(bytes(2**25)) + deflater.flush(zlib.Z_SYNC_FLUSH)
        await peer.peer.send(text("before"))
        tracemalloc.start()
        try:
            await peer.peer.send(compressed(bomb.removesuffix(TAIL)))
            assert await ws.receive() == "before"
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert Close.parse((await peer.peer.receive()).payload).code == 1009
        assert peak < 2**20 + 3 * 2**17 + 2 * len(bomb)


@pytest.mark.parametrize("limits", [(2**20, 2**16), (2**17, 1)])
async def test_messages_that_inflate_wait_within_the_read_limit(limits: Sequence[int]) -> None:
    max_size, read_limit = limits
    async with Pair(max_size=max_size, read_limit=read_limit) as (ws, peer):
        data = b"x" * max_size
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                for _ in range(20):
                    await peer.send(data)

            tasks.start_soon(send)
            await settle()
            tracemalloc.start()
            try:
                for _ in range(20):
                    assert await ws.receive() == data.decode()
                assert tracemalloc.get_traced_memory()[1] < 4 * max_size + 2**19
            finally:
                tracemalloc.stop()
