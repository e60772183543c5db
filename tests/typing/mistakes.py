# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What must be an error: each ignore here is needed, or else it is one itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from anyio_ws import (
    Broker,
    Channel,
    ClientConfig,
    ClientOptions,
    ReconnectFailure,
    ReconnectPolicy,
    Request,
    Router,
    ServerConfig,
    ServerObserver,
    WebSocket,
    aggregate,
    basic_auth,
    broadcast,
    broadcast_and_wait,
    byte_stream,
    endpoint,
    mux,
    open_server,
    open_websocket,
    reconnecting_websocket,
    websocket_events,
)


class Trade(msgspec.Struct):
    price: float


async def echo(ws: WebSocket) -> None: ...
async def chat(ws: WebSocket, name: str) -> None: ...
async def play(players: set[WebSocket]) -> None: ...
def not_async(ws: WebSocket) -> None: ...
async def says_no(ws: WebSocket, request: Request) -> bool:
    return False


def hook_not_async(ws: WebSocket, request: Request) -> None: ...
async def patient(failure: ReconnectFailure) -> None: ...


async def messages(ws: WebSocket) -> None:
    text: str = await ws.receive()  # type: ignore[assignment]
    text = await ws.receive(decode=False)  # type: ignore[assignment]
    await ws.receive(decode="utf-8")  # type: ignore[call-overload]
    await ws.receive(timeout=5)  # type: ignore[call-overload]
    trade = await ws.receive_json(Trade)
    trade.symbol = "EURUSD"  # type: ignore[attr-defined]
    async for several in ws.iter_json(list[Trade]):
        several.append("EURUSD")  # type: ignore[arg-type]
    await ws.send(5)  # type: ignore[arg-type]
    await ws.send(None)  # type: ignore[arg-type]
    await ws.send([1, 2])  # type: ignore[arg-type]
    await ws.send("hello", True)  # type: ignore[call-arg]
    ws.send_nowait(["in", "parts"])  # type: ignore[arg-type]
    await ws.aclose(reason=b"bye")  # type: ignore[arg-type]
    ws.url = "ws://localhost/"  # type: ignore[misc]
    ws.close_code = 1000  # type: ignore[misc]
    print(text)


async def connecting(url: str) -> None:
    open_websocket(url, max_siez=5)  # type: ignore[call-arg]
    open_websocket(url, max_size="1 MiB")  # type: ignore[arg-type]
    open_websocket(url, compression="gzip")  # type: ignore[arg-type]
    open_websocket(url, server_header=None)  # type: ignore[call-arg]
    open_websocket(url, None)  # type: ignore[call-arg]
    open_websocket(url, stream=open)  # type: ignore[arg-type]
    open_websocket(url, config=ServerConfig())  # type: ignore[arg-type]
    ClientConfig(["chat"])  # type: ignore[call-arg]
    ClientConfig().max_size = 5  # type: ignore[misc]
    options: ClientOptions = {"subprotocol": "chat"}  # type: ignore[typeddict-unknown-key]
    async for _ in open_websocket(url, **options):  # type: ignore[attr-defined]
        pass
    reconnecting_websocket(url, policy=patient)  # type: ignore[arg-type]
    async with reconnecting_websocket(url):  # type: ignore[attr-defined]
        pass
    ReconnectPolicy(1.0)  # type: ignore[call-arg]
    websocket_events(url, reconnect=True)  # type: ignore[arg-type]


async def serving() -> None:
    open_server(not_async, "127.0.0.1", 0)  # type: ignore[arg-type]
    open_server(chat, "127.0.0.1", 0)  # type: ignore[arg-type]
    open_server(echo, "127.0.0.1", "8765")  # type: ignore[arg-type]
    open_server(echo, port=0, process_request=says_no)  # type: ignore[arg-type]
    open_server(echo, port=0, process_request=hook_not_async)  # type: ignore[arg-type]
    open_server(echo, port=0, on_handler_error="ignore")  # type: ignore[arg-type]
    open_server(echo, port=0, origin="https://example.org")  # type: ignore[call-arg]
    open_server(echo, listeners=[8765])  # type: ignore[list-item]
    endpoint(not_async)  # type: ignore[arg-type]
    Router().add("/", not_async)  # type: ignore[arg-type]
    basic_auth("staff", {"ada": "secret"})  # type: ignore[dict-item]


class Watching(ServerObserver):
    async def opened(self, ws: WebSocket) -> None: ...  # type: ignore[override]


async def many(ws: WebSocket, by_name: Mapping[str, WebSocket]) -> None:
    mux([ws, ws])  # type: ignore[call-overload]
    mux(ws, on_disconnect="ignore")  # type: ignore[call-overload]
    async with mux(ws) as merged:
        async for message in merged:
            message.upper()  # type: ignore[attr-defined]
    aggregate(2, echo)  # type: ignore[arg-type]
    aggregate(2, play, key="path")  # type: ignore[arg-type]
    broadcast(ws, "hello")  # type: ignore[arg-type]
    broadcast(by_name, "hello")  # type: ignore[arg-type]
    broadcast([ws], 5)  # type: ignore[arg-type]
    broadcast([ws], "hello", overflow="wait")  # type: ignore[arg-type]
    await broadcast([ws], "hello")  # type: ignore[misc]
    await broadcast_and_wait([ws], "hello")  # type: ignore[call-arg]
    Channel("news").subscribe()  # type: ignore[call-arg]
    Channel(5)  # type: ignore[arg-type]
    Broker()  # type: ignore[abstract]
    await byte_stream(ws).send("text")  # type: ignore[arg-type]
