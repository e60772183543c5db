# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A client's side: connecting, messages, JSON, events, connecting again."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any, Literal, TypedDict, Unpack, assert_never, assert_type

import anyio
import msgspec
import pydantic
from anyio.abc import ByteStream, ObjectReceiveStream, ObjectStream, SocketAttribute
from anyio.streams.stapled import StapledByteStream

from anyio_ws import (
    ClientConfig,
    ClientOptions,
    Close,
    CloseCode,
    ConnectionClosed,
    ConnectionStatistics,
    Headers,
    InvalidJSON,
    InvalidStatus,
    JSONCodec,
    PreparedMessage,
    ReconnectAttempt,
    ReconnectFailure,
    ReconnectPolicy,
    Request,
    Response,
    State,
    WebSocket,
    WebSocketEvents,
    byte_stream,
    open_websocket,
    reconnecting_websocket,
    websocket_events,
)
from anyio_ws.events import (
    BackOff,
    Binary,
    Closed,
    Closing,
    Connected,
    ConnectFail,
    Connecting,
    Disconnected,
    Event,
    Fragment,
    FragmentEvent,
    LifecycleEvent,
    Ping,
    Poll,
    Pong,
    Ready,
    Rejected,
    Text,
)
from anyio_ws.sansio import ClientPerMessageDeflateFactory, Frame, Opcode


class Trade(msgspec.Struct):
    symbol: str
    price: float


class Order(pydantic.BaseModel):
    symbol: str
    amount: int


@dataclass
class Quote:
    bid: float
    ask: float


class Subscription(TypedDict):
    symbols: list[str]


# Connecting.


async def ask(url: str) -> str:
    async with open_websocket(
        url
    ) as ws:  # no block that might swallow an exception: nothing follows it
        assert_type(ws, WebSocket)
        await ws.send("what time is it?")
        return await ws.receive(decode=True)


async def ask_in_time(url: str) -> str | bytes | None:
    with anyio.move_on_after(5):
        async with open_websocket(url, open_timeout=None, ping_interval=5, max_size=2**24) as ws:
            return await ws.receive()
    return None


def connect(path: str, **options: Unpack[ClientOptions]) -> AbstractAsyncContextManager[WebSocket]:
    return open_websocket(f"wss://example.org{path}", **options)


def connect_as(
    token: str, cookies: CookieJar | Mapping[str, str]
) -> AbstractAsyncContextManager[WebSocket]:
    options: ClientOptions = {"cookies": cookies, "compression": None, "proxy": {}}
    options["additional_headers"] = [("Authorization", f"Bearer {token}")]
    options["ssl"] = ssl.create_default_context()
    return connect("/feed", **options)


def connect_over(
    stream: ByteStream, config: ClientConfig
) -> AbstractAsyncContextManager[WebSocket]:
    assert_type(config.max_size, int | None)
    return open_websocket("ws://localhost/", stream=stream, config=config, max_queue=16)


CONFIG = ClientConfig(
    additional_headers={"X-Trace": "1"},
    extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=10)],
    json="msgspec",
    local_address=("127.0.0.1", 0),
    ping_interval=None,
    proxy="socks5h://localhost:1080",
    socket_options=[(6, 1, 1)],
)


async def refused(url: str) -> Response:
    try:
        async with open_websocket(url, config=CONFIG) as ws:
            return ws.response
    except InvalidStatus as exc:
        assert_type(exc.response.retry_after, float | None)
        return exc.response


# Messages.


async def messages(ws: WebSocket) -> None:
    assert_type(await ws.receive(), str | bytes)
    assert_type(await ws.receive(decode=None), str | bytes)
    assert_type(await ws.receive(decode=True), str)
    assert_type(await ws.receive(decode=False), bytes)
    assert_type(ws.receive_nowait(), str | bytes)
    assert_type(ws.receive_nowait(decode=True), str)
    assert_type(ws.receive_nowait(decode=False), bytes)
    async for message in ws:
        assert_type(message, str | bytes)
    async with ws.receive_fragments() as parts:
        async for part in parts:
            assert_type(part, str | bytes)
    async with ws.discard_incoming():
        await ws.wait_closed()


async def configurable(ws: WebSocket, decode: bool | None) -> str | bytes:
    return await ws.receive(decode=decode)


async def sending(ws: WebSocket, chunks: list[bytes], lines: AsyncIterator[str]) -> None:
    await ws.send("text")
    await ws.send(b"binary", text=True)
    await ws.send(bytearray(b"binary"), compress=False)
    await ws.send(memoryview(b"binary"))
    await ws.send(chunks)
    await ws.send(lines)
    await ws.send(line.upper() for line in ("one", "two"))
    await ws.send(PreparedMessage("again and again"))
    ws.send_nowait("text", text=False)
    await ws.flush()
    assert_type(await ws.ping(), float)
    await ws.send_ping(b"payload")
    await ws.send_pong()
    await ws.lowlevel.send_frame(Frame(Opcode.PING, b""))
    await ws.aclose(CloseCode.GOING_AWAY, "enough")
    await ws.aclose(4000)


async def details(ws: WebSocket) -> None:
    assert_type(ws.url, str)
    assert_type(ws.request, Request)
    assert_type(ws.response.headers, Headers)
    assert_type(ws.subprotocol, str | None)
    assert_type(ws.close_code, int | None)
    assert_type(ws.closed_exc, ConnectionClosed | None)
    assert_type(ws.latency, float)
    assert_type(ws.statistics(), ConnectionStatistics)
    assert_type(ws.extra(SocketAttribute.remote_port), int)
    ws.user_data.name = "ada"
    if ws.state is State.OPEN:
        assert_type(ws.state, Literal[State.OPEN])


async def ends(ws: WebSocket) -> int:
    try:
        await ws.send("anybody there?")
    except ConnectionClosed as exc:
        assert_type(exc.rcvd, Close | None)
        return 1006 if exc.rcvd is None else exc.rcvd.code
    return 0


async def any_stream(stream: ObjectStream[str | bytes]) -> str | bytes:
    await stream.send("hello")
    return await stream.receive()


async def as_any_stream(ws: WebSocket) -> None:
    await any_stream(ws)
    await anyio.aclose_forcefully(ws)


async def tunnel(ws: WebSocket) -> StapledByteStream:
    stream = byte_stream(ws, half_close=True)
    assert_type(stream, ByteStream)
    assert_type(await stream.receive(100), bytes)
    return StapledByteStream(stream, stream)


# JSON.


async def json_messages(ws: WebSocket) -> None:
    assert_type(await ws.receive_json(), Any)
    assert_type(await ws.receive_json(Trade), Trade)
    assert_type(await ws.receive_json(Order), Order)
    assert_type(await ws.receive_json(Quote), Quote)
    assert_type(await ws.receive_json(Subscription), Subscription)
    assert_type(await ws.receive_json(list[Trade]), list[Trade])
    assert_type(await ws.receive_json(dict[str, float]), dict[str, float])
    either: Trade | Quote = await ws.receive_json(
        Trade | Quote
    )  # no checker knows such a value's type
    await ws.send_json(either)
    await ws.send_json(symbol="EURUSD", bid=1.0953)
    async for trade in ws.iter_json(Trade):
        assert_type(trade, Trade)
    async for several in ws.iter_json(list[Quote]):
        assert_type(several, list[Quote])
    async for something in ws.iter_json():
        assert_type(something, Any)
    try:
        await ws.receive_json(Trade)
    except InvalidJSON as exc:
        assert_type(exc.message, str | bytes)


class Codec:
    def encode(self, obj: object) -> bytes:
        return repr(obj).encode()

    def decode(self, data: str | bytes) -> dict[str, str]:
        return {"data": str(data)}


CODEC: JSONCodec = Codec()
WITH_CODEC = ClientConfig(json=Codec())


# Events.


def describe(event: Event | FragmentEvent) -> str:
    match event:
        case Text(data):
            return assert_type(data, str)
        case Binary(data) | Ping(data) | Pong(data):
            return assert_type(data, bytes).hex()
        case Fragment(data, final):
            return f"{data!r} {final}"
        case Closed(code, reason):
            return f"{code} {reason}"
        case _:
            assert_never(event)


async def follow(ws: WebSocket, fragments: bool) -> None:
    async with ws.events() as events:
        assert_type(events, ObjectReceiveStream[Event])
        async for event in events:
            describe(event)
    async with ws.events(fragments=True) as parts:
        assert_type(parts, ObjectReceiveStream[FragmentEvent])
    async with ws.events(fragments=fragments) as either:
        describe(await either.receive())


def tell(event: LifecycleEvent) -> str:
    match event:
        case Connecting(url) | Connected(url):
            return url
        case ConnectFail(error) | Rejected(error):
            return str(error)
        case Ready(response, subprotocol):
            return subprotocol or response.reason_phrase
        case Poll():
            return "..."
        case Text() | Binary() | Ping() | Pong() | Fragment() | Closed():
            return describe(event)
        case Closing(code, reason):
            return f"{code} {reason}"
        case Disconnected(graceful, error):
            return f"{graceful}: {error}"
        case BackOff(delay):
            return f"in {delay} s"
        case _:
            assert_never(event)


async def life(url: str) -> None:
    async with websocket_events(url, reconnect=ReconnectPolicy(cap=10), poll=None) as events:
        assert_type(events, WebSocketEvents)
        async for event in events:
            tell(event)
            if isinstance(event, Ready):
                await events.websocket.send("hello")


# Connecting again.


def patient(failure: ReconnectFailure) -> float | None:
    assert_type(failure.error, Exception | None)
    return None if failure.failures > 3 else 2.0**failure.failures


async def again(url: str) -> str:
    async for attempt in reconnecting_websocket(url, policy=patient, max_size=None):
        assert_type(attempt, ReconnectAttempt)
        async with attempt as ws:
            assert_type(ws, WebSocket)
            return await ws.receive(decode=True)
        assert_type(
            attempt.error, Exception | None
        )  # the block may have swallowed the connection's end
    return "given up"


async def again_and_again(url: str) -> None:
    async for attempt in reconnecting_websocket(url, policy=ReconnectPolicy(max_attempts=3)):
        async with attempt as ws:
            async for message in ws:
                assert_type(message, str | bytes)
