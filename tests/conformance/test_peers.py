"""We understand other people's WebSockets, and they understand ours.

Every test runs as the client of a peer's server and as the server of a peer's client, over TCP and over
TLS, with each library, on each of our backends: see `LINKS`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator

import anyio
import pytest

from anyio_ws import (
    Close,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
    ServerConfig,
    State,
    WebSocket,
    open_server,
    open_websocket,
)

from .peers import (
    LIMIT,
    Aiohttp,
    Link,
    Message,
    Peer,
    PeerClosed,
    Rejected,
    Setup,
    Websockets,
    WebsocketsPeer,
)

LINKS = {
    f"{role} {library.name} {'TLS' if secure else 'TCP'}": (library, role == "client of", secure)
    for library in (Websockets(), Aiohttp())
    for role in ("client of", "server of")
    for secure in (False, True)
}
OUR_SERVERS = [name for name in LINKS if name.startswith("server of")]
OUR_CLIENTS = [name for name in LINKS if name.startswith("client of")]
WITH_WEBSOCKETS = [name for name in LINKS if " websockets " in name]


@pytest.fixture(params=LINKS)
def link(
    request: pytest.FixtureRequest,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> Link:
    library, we_are_client, secure = LINKS[request.param]
    return Link(
        library=library,
        we_are_client=we_are_client,
        server_ssl=server_ssl_context if secure else None,
        client_ssl=client_ssl_context if secure else None,
    )


def only(names: list[str]) -> pytest.MarkDecorator:
    """Of all links, use these."""
    return pytest.mark.parametrize("link", names, indirect=True)


async def receive_until_closed(ws: WebSocket) -> tuple[list[Message], ConnectionClosed]:
    messages = []
    try:
        while True:
            messages.append(await ws.receive())
    except ConnectionClosed as exc:
        return messages, exc


async def send_all(ws: WebSocket, messages: list[Message]) -> None:
    for message in messages:
        await ws.send(message)


async def send_until_closed(ws: WebSocket, message: Message) -> None:
    try:
        while True:
            await ws.send(message)
    except ConnectionClosed:
        pass


async def wait_closed(peer: Peer) -> tuple[int, str]:
    return await peer.wait_closed()


# -- the opening handshake


@pytest.mark.parametrize(
    ("ours_supports", "peer_supports", "negotiated"),
    [
        ([], [], None),
        (["chat"], ["chat"], "chat"),
        (["superchat", "chat"], ["chat"], "chat"),
        (["chat"], ["superchat", "chat"], "chat"),
    ],
    ids=["none", "the same", "we have more", "the peer has more"],
)
async def test_both_ends_see_the_subprotocol_negotiated(
    link: Link, ours_supports: list[str], peer_supports: list[str], negotiated: str | None
) -> None:
    async def ours(ws: WebSocket) -> str | None:
        return ws.subprotocol

    async def theirs(peer: Peer) -> str | None:
        await peer.wait_closed()
        return peer.subprotocol

    assert await link.talk(
        ours, theirs, subprotocols=ours_supports, peer_subprotocols=peer_supports
    ) == (negotiated, negotiated)


COMPRESSIBLE: list[Message] = ["compress me " * 100, "", b"compress me " * 10_000, "me " * 30]


async def test_messages_are_compressed_both_ways_by_default(link: Link) -> None:
    async def ours(ws: WebSocket) -> list[Message]:
        assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
        answers: list[Message] = []
        for message in COMPRESSIBLE * 3:
            await ws.send(message)
            answers.append(await ws.receive())
        await ws.send("not me " * 100, compress=False)
        answers.append(await ws.receive())
        return answers

    answers, _ = await link.talk(ours, lambda peer: peer.echo())
    assert answers == [*COMPRESSIBLE * 3, "not me " * 100]


@only(OUR_SERVERS)
async def test_a_peer_that_offers_to_compress_is_served_uncompressed_without_compression(
    link: Link,
) -> None:
    async def ours(ws: WebSocket) -> str:
        assert ws.extensions == ()
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        async for message in ws:
            await ws.send(message)
        return ws.request.headers["Sec-WebSocket-Extensions"]

    async def theirs(peer: Peer) -> list[Message]:
        received = []
        for _ in range(3):
            await peer.send("compress me " * 100)
            received.append(await peer.receive())
        return received

    offered, received = await link.talk(ours, theirs, compression=None)
    assert "permessage-deflate" in offered
    assert received == ["compress me " * 100] * 3


@only(OUR_CLIENTS)
async def test_a_peer_that_can_compress_does_not_when_we_do_not_offer_it(link: Link) -> None:
    async def ours(ws: WebSocket) -> Message:
        assert ws.extensions == ()
        assert "Sec-WebSocket-Extensions" not in ws.request.headers
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        await ws.send("compress me " * 100)
        return await ws.receive()

    received, _ = await link.talk(ours, lambda peer: peer.echo(), compression=None)
    assert received == "compress me " * 100


@only(OUR_CLIENTS)
async def test_a_404_of_a_peer_is_an_invalid_status(link: Link) -> None:
    with anyio.fail_after(LIMIT):
        async with link.serve(wait_closed, Setup(ssl=link.server_ssl)) as (url, _):
            with pytest.raises(InvalidStatus, match="404") as raised:
                async with open_websocket(f"{url}nowhere", ssl=link.client_ssl):
                    pytest.fail("connected")
    assert raised.value.response.status_code == 404


@only(OUR_SERVERS)
@pytest.mark.parametrize(
    ("config", "status"),
    [
        (ServerConfig(subprotocols=["chat"]), 400),
        (ServerConfig(origins=["https://example.org"]), 403),
    ],
    ids=["subprotocol", "origin"],
)
async def test_a_peer_sees_the_status_that_we_reject_it_with(
    link: Link, config: ServerConfig, status: int
) -> None:
    async def unreachable(connection: object) -> None:
        pytest.fail("connected")

    with anyio.fail_after(LIMIT):
        async with open_server(
            unreachable, "127.0.0.1", 0, config=config, ssl=link.server_ssl
        ) as server:
            with pytest.raises(Rejected) as raised:
                await link.connect(server.url, unreachable, Setup(ssl=link.client_ssl))
    assert raised.value.status == status


@only([name for name in OUR_CLIENTS if name.endswith("TLS")])
async def test_a_peers_certificate_is_verified(link: Link) -> None:
    with anyio.fail_after(LIMIT):
        async with link.serve(wait_closed, Setup(ssl=link.server_ssl)) as (url, _):
            with pytest.raises(ConnectError, match="certificate verify failed"):
                async with open_websocket(url):
                    pytest.fail("connected")


@only([name for name in OUR_SERVERS if name.endswith("TLS")])
async def test_our_server_outlives_a_peer_that_does_not_trust_it(link: Link) -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.send("welcome")

    async def theirs(peer: Peer) -> Message:
        return await peer.receive()

    with anyio.fail_after(LIMIT):
        async with open_server(handler, "127.0.0.1", 0, ssl=link.server_ssl) as server:
            with pytest.raises(OSError, match="certificate verify failed"):
                await link.connect(server.url, theirs, Setup(ssl=ssl.create_default_context()))
            assert await link.connect(server.url, theirs, Setup(ssl=link.client_ssl)) == "welcome"


# -- messages


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("hello", id="text"),
        pytest.param("", id="empty text"),
        pytest.param("naïve 日本 🦆 \0", id="non-ASCII text"),
        pytest.param("é" * 2**19, id="1 MiB of text"),
        pytest.param(bytes(range(256)), id="binary"),
        pytest.param(b"", id="empty binary"),
        pytest.param(bytes(range(256)) * 2**12, id="1 MiB of binary"),
    ],
)
async def test_a_message_arrives_unchanged_at_either_end(link: Link, message: Message) -> None:
    async def ours(ws: WebSocket) -> Message:
        await ws.send(message)
        return await ws.receive()

    async def theirs(peer: Peer) -> Message:
        received = await peer.receive()
        await peer.send(message)
        await peer.wait_closed()
        return received

    received, received_by_peer = await link.talk(ours, theirs)
    # `==` on megabytes that differ would take pytest minutes to explain.
    assert type(received) is type(received_by_peer) is type(message)
    assert (received == message) is True
    assert (received_by_peer == message) is True


async def test_every_encoding_of_a_length_is_understood(link: Link) -> None:
    sizes = [0, 1, 125, 126, 127, 65535, 65536, 65537]

    async def ours(ws: WebSocket) -> list[int]:
        for size in sizes:
            await ws.send(b"x" * size)
        return [len(await ws.receive()) for _ in sizes]

    async def theirs(peer: Peer) -> list[int]:
        received = [await peer.receive() for _ in sizes]
        for message in received:
            await peer.send(message)
        await peer.wait_closed()
        return [len(message) for message in received]

    assert await link.talk(ours, theirs) == (sizes, sizes)


async def test_many_messages_keep_their_order(link: Link) -> None:
    sent: list[Message] = [
        str(number) if number % 2 else str(number).encode() for number in range(500)
    ]

    async def ours(ws: WebSocket) -> list[Message]:
        received: list[Message] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all, ws, sent)
            while len(received) < len(sent):
                received.append(await ws.receive())
        return received

    (received, closed) = await link.talk(ours, lambda peer: peer.echo())
    assert received == sent
    assert closed == (1000, "")


async def test_both_ends_send_megabytes_at_the_same_time(link: Link) -> None:
    messages: list[Message] = [bytes([number]) * 2**20 for number in range(4)]

    async def ours(ws: WebSocket) -> bool:
        received: list[Message] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all, ws, messages)
            while len(received) < len(messages):
                received.append(await ws.receive())
        return received == messages

    async def theirs(peer: Peer) -> bool:
        async def send() -> None:
            for message in messages:
                await peer.send(message)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            same = [await peer.receive() for _ in messages] == messages
        await peer.wait_closed()
        return same

    assert await link.talk(ours, theirs) == (True, True)


# -- fragments


@pytest.mark.parametrize(
    ("fragments", "whole"),
    [
        (["frag", "mén", "", "ts 🦆"], "fragménts 🦆"),
        ([b"frag", b"", b"ments"], b"fragments"),
        ([b"x" * 2**18] * 4, b"x" * 2**20),
    ],
    ids=["text", "binary", "1 MiB"],
)
async def test_a_peer_joins_the_fragments_that_we_send(
    link: Link, fragments: list[str] | list[bytes], whole: Message
) -> None:
    async def theirs(peer: Peer) -> bool:
        received = await peer.receive()
        await peer.wait_closed()
        return received == whole

    _, same = await link.talk(lambda ws: ws.send(fragments), theirs)
    assert same


async def test_a_ping_passes_between_fragments_that_we_send(link: Link) -> None:
    async def ours(ws: WebSocket) -> float:
        latencies = []

        async def fragments() -> AsyncIterator[str]:
            yield "before "
            latencies.append(await ws.ping())
            yield "after"

        await ws.send(fragments())
        return latencies[0]

    async def theirs(peer: Peer) -> tuple[list[Message], tuple[int, str]]:
        return await peer.receive_all()

    latency, received = await link.talk(ours, theirs)
    assert latency > 0
    assert received == (["before after"], (1000, ""))


# aiohttp can't send fragments.
@only(WITH_WEBSOCKETS)
@pytest.mark.parametrize(
    ("fragments", "whole"),
    [
        (["frag", "mén", "", "ts 🦆"], "fragménts 🦆"),
        ([b"frag", b"", b"ments"], b"fragments"),
        ([b"x" * 2**18] * 4, b"x" * 2**20),
    ],
    ids=["text", "binary", "1 MiB"],
)
async def test_we_join_the_fragments_that_a_peer_sends(
    link: Link, fragments: list[str] | list[bytes], whole: Message
) -> None:
    async def theirs(peer: Peer) -> tuple[int, str]:
        assert isinstance(peer, WebsocketsPeer)
        await peer.send(fragments)
        return await peer.wait_closed()

    received, closed = await link.talk(lambda ws: ws.receive(), theirs)
    assert (received == whole) is True
    assert closed == (1000, "")


@only(WITH_WEBSOCKETS)
async def test_fragments_are_received_one_by_one_and_answered_in_between(link: Link) -> None:
    async def ours(ws: WebSocket) -> list[Message]:
        async with ws.receive_fragments() as fragments:
            return [fragment async for fragment in fragments if fragment]

    async def theirs(peer: Peer) -> None:
        assert isinstance(peer, WebsocketsPeer)

        async def fragments() -> AsyncIterator[str]:
            yield "before "
            await peer.ping(b"between")
            yield "after"

        await peer.send(fragments())
        await peer.wait_closed()

    received, _ = await link.talk(ours, theirs)
    assert received == ["before ", "after"]


@only(WITH_WEBSOCKETS)
async def test_a_peer_sees_the_fragments_as_we_sent_them(link: Link) -> None:
    async def theirs(peer: Peer) -> list[Message]:
        assert isinstance(peer, WebsocketsPeer)
        received = [fragment async for fragment in peer.ws.recv_streaming()]
        await peer.wait_closed()
        return received

    _, received = await link.talk(lambda ws: ws.send(["one", "two", "three"]), theirs)
    assert [fragment for fragment in received if fragment] == ["one", "two", "three"]


# -- pings


async def test_a_peer_answers_our_ping(link: Link) -> None:
    async def ours(ws: WebSocket) -> tuple[float, float, float]:
        return await ws.ping(), await ws.ping(b"x" * 125), ws.latency

    (first, second, latency), closed = await link.talk(ours, wait_closed)
    assert first > 0
    assert second == latency > 0
    assert closed == (1000, "")


async def test_we_answer_a_peers_ping_also_if_nobody_receives(link: Link) -> None:
    async def theirs(peer: Peer) -> str:
        for payload in (b"", b"payload", b"x" * 125):
            await peer.ping(payload)
        await peer.send("answered")
        return "answered"

    async def ours(ws: WebSocket) -> Message:
        await ws.wait_closed()
        return await ws.receive()

    assert await link.talk(ours, theirs) == ("answered", "answered")


# -- closing

CLOSES = [
    (1000, ""),
    (1000, "bye"),
    (1001, "going"),
    (1011, "é" * 61),
    (3000, ""),
    (4999, "x" * 123),
]
close_frames = pytest.mark.parametrize(
    ("code", "reason"), CLOSES, ids=[f"{code} {reason:.3}".strip() for code, reason in CLOSES]
)


@close_frames
async def test_we_see_the_code_and_reason_that_a_peer_closes_with(
    link: Link, code: int, reason: str
) -> None:
    async def ours(ws: WebSocket) -> tuple[ConnectionClosed, int | None, str | None]:
        await ws.wait_closed()
        messages, exc = await receive_until_closed(ws)
        assert messages == []
        assert ws.state is State.CLOSED
        return exc, ws.close_code, ws.close_reason

    (exc, *seen), answered = await link.talk(ours, lambda peer: peer.close(code, reason))
    assert seen == [code, reason]
    assert exc.rcvd == exc.sent == Close(code, reason)
    assert exc.rcvd_then_sent is True
    assert type(exc).__name__ == (
        ConnectionClosedOK.__name__ if code <= 1001 else ConnectionClosedError.__name__
    )
    assert answered == code


@close_frames
async def test_a_peer_sees_the_code_and_reason_that_we_close_with(
    link: Link, code: int, reason: str
) -> None:
    async def ours(ws: WebSocket) -> int | None:
        await ws.aclose(code, reason)
        assert ws.state is State.CLOSED
        return ws.close_code

    answered, seen = await link.talk(ours, wait_closed)
    assert seen == (code, reason)
    assert answered == link.answer_to(code)


async def test_a_close_frame_without_a_code_is_a_normal_end(link: Link) -> None:
    async def theirs(peer: Peer) -> tuple[int, str]:
        await peer.send_close_without_code()
        return await peer.wait_closed()

    async def ours(ws: WebSocket) -> tuple[list[Message], int | None]:
        return [message async for message in ws], ws.close_code

    received, answered = await link.talk(ours, theirs)
    assert received == ([], 1005)
    assert answered == (1005, "")


async def test_a_peer_sees_1011_when_our_code_raises(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("our code is broken")
    seen = []

    async def ours(ws: WebSocket) -> None:
        raise error

    async def theirs(peer: Peer) -> None:
        seen.append(await peer.wait_closed())

    with caplog.at_level(logging.CRITICAL, "anyio_ws"), pytest.raises(RuntimeError) as raised:
        await link.talk(ours, theirs)
    assert raised.value is error
    assert seen == [(1011, "")]


async def test_a_peer_that_vanishes_leaves_1006(link: Link) -> None:
    async def ours(ws: WebSocket) -> tuple[list[Message], ConnectionClosed, int | None]:
        await ws.send("go")
        messages, exc = await receive_until_closed(ws)
        return messages, exc, ws.close_code

    async def theirs(peer: Peer) -> None:
        await peer.send("last words")
        assert await peer.receive() == "go"
        peer.abort()

    (messages, exc, code), _ = await link.talk(ours, theirs)
    assert messages == ["last words"]
    assert isinstance(exc, ConnectionClosedError)
    assert isinstance(exc, anyio.BrokenResourceError)
    assert exc.rcvd is None
    assert code == 1006


async def test_a_peer_learns_of_the_end_when_we_close_forcefully(link: Link) -> None:
    async def ours(ws: WebSocket) -> State:
        assert await ws.receive() == "go"
        await anyio.aclose_forcefully(ws)
        await ws.wait_closed()
        return ws.state

    async def theirs(peer: Peer) -> tuple[int, str]:
        await peer.send("go")
        return await peer.wait_closed()

    state, closed = await link.talk(ours, theirs)
    assert state is State.CLOSED
    assert closed == (1006, "")


async def test_a_message_that_is_too_big_for_us_closes_with_1009(link: Link) -> None:
    async def theirs(peer: Peer) -> tuple[int, str]:
        await peer.send("x" * 1000)
        await peer.send("x" * 1001)
        return await peer.wait_closed()

    (messages, exc), (seen, _) = await link.talk(receive_until_closed, theirs, max_size=1000)
    assert messages == ["x" * 1000]
    assert isinstance(exc, ConnectionClosedError)
    assert exc.sent is not None
    assert exc.sent.code == seen == 1009


async def test_a_message_that_is_too_big_for_the_peer_closes_with_1009(link: Link) -> None:
    async def ours(ws: WebSocket) -> tuple[list[Message], ConnectionClosed]:
        await ws.send("x" * 2000)
        return await receive_until_closed(ws)

    (messages, exc), _ = await link.talk(ours, wait_closed, peer_max_size=1000)
    assert messages == []
    assert isinstance(exc, ConnectionClosedError)
    assert exc.rcvd is not None
    assert exc.rcvd.code == 1009


@only(OUR_SERVERS)
async def test_a_peer_sees_1001_when_our_server_shuts_down(link: Link) -> None:
    connected = anyio.Event()

    async def handler(ws: WebSocket) -> None:
        connected.set()
        await ws.wait_closed()

    async def theirs(peer: Peer) -> None:
        closes.append(await peer.wait_closed())

    closes: list[tuple[int, str]] = []
    with anyio.fail_after(LIMIT):
        async with open_server(handler, "127.0.0.1", 0, ssl=link.server_ssl) as server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.connect, server.url, theirs, Setup(ssl=link.client_ssl))
                await connected.wait()
                await server.shutdown(reason="maintenance")
    assert closes == [(1001, "maintenance")]


# -- closing while messages are on their way


async def test_what_we_sent_before_closing_arrives_at_the_peer(link: Link) -> None:
    sent = [bytes([number]) * 50_000 for number in range(40)]

    async def ours(ws: WebSocket) -> int | None:
        for message in sent:
            await ws.send(message)
        await ws.aclose(4000, "all sent")
        return ws.close_code

    async def theirs(peer: Peer) -> tuple[bool, tuple[int, str]]:
        messages, closed = await peer.receive_all()
        return messages == sent, closed

    answered, received = await link.talk(ours, theirs)
    assert answered == link.answer_to(4000)
    assert received == (True, (4000, "all sent"))


async def test_what_a_peer_sent_before_closing_arrives_here(link: Link) -> None:
    sent = [bytes([number]) * 50_000 for number in range(40)]

    async def ours(ws: WebSocket) -> tuple[bool, Close | None]:
        messages, exc = await receive_until_closed(ws)
        return messages == sent, exc.rcvd

    async def theirs(peer: Peer) -> int | None:
        for message in sent:
            await peer.send(message)
        return await peer.close(4000, "all sent")

    received, answered = await link.talk(ours, theirs)
    assert received == (True, Close(4000, "all sent"))
    assert answered == 4000


async def test_we_close_while_the_peer_goes_on_sending(link: Link) -> None:
    async def ours(ws: WebSocket) -> int | None:
        for _ in range(3):
            await ws.receive()
        await ws.aclose(4000, "enough")
        return ws.close_code

    async def theirs(peer: Peer) -> tuple[int, str]:
        async def send() -> None:
            try:
                while True:
                    await peer.send(b"x" * 10_000)
                    # Its send() may go on for long without letting the other task run.
                    await asyncio.sleep(0)
            except PeerClosed:
                pass

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            return await peer.wait_closed()

    answered, seen = await link.talk(ours, theirs)
    assert answered == link.answer_to(4000)
    assert seen == (4000, "enough")


async def test_a_peer_closes_while_we_go_on_sending(link: Link) -> None:
    async def ours(ws: WebSocket) -> ConnectionClosed:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_until_closed, ws, b"x" * 10_000)
            await receive_until_closed(ws)
        _, closed = await receive_until_closed(ws)  # it stays closed, in the same way
        return closed

    async def theirs(peer: Peer) -> int | None:
        for _ in range(3):
            await peer.receive()
        return await peer.close(4000, "enough")

    exc, answered = await link.talk(ours, theirs)
    assert isinstance(exc, ConnectionClosedError)
    assert exc.rcvd == Close(4000, "enough")
    assert answered == 4000
