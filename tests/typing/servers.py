# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A server's side: handlers of all kinds, hooks, routes, what observes it, connections that others accept."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import assert_type

import anyio
from anyio.abc import ByteStream, SocketStream

from anyio_ws import (
    CheckCredentials,
    Endpoint,
    HandleHTTP,
    HandlerErrorHook,
    OnHandlerError,
    ProcessRequest,
    ProcessResponse,
    Request,
    Response,
    Router,
    ServerConfig,
    ServerObserver,
    ServerOptions,
    ServerStatistics,
    WebSocket,
    WebSocketServer,
    accept_websocket,
    basic_auth,
    endpoint,
    open_server,
    serve_websocket,
)
from anyio_ws.sansio import (
    ClientProtocol,
    Frame,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    State,
)

# Handlers: whatever can be called with a connection, and awaited.


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def counted(ws: WebSocket) -> int:
    return len([message async for message in ws])


async def greet(greeting: str, ws: WebSocket) -> None:
    await ws.send(greeting)


class Chat:
    def __init__(self) -> None:
        self.there: set[WebSocket] = set()

    async def __call__(self, ws: WebSocket) -> None:
        self.there.add(ws)

    async def handle(self, ws: WebSocket) -> None:
        await ws.shutting_down
        assert_type(ws.client_address, str | None)


async def handlers() -> None:
    chat = Chat()
    for handler in (echo, counted, partial(greet, "hello"), chat, chat.handle):
        async with open_server(handler, "127.0.0.1", 0) as server:
            assert_type(server, WebSocketServer)
    async with open_server(lambda ws: ws.wait_closed(), ["127.0.0.1", "::1"], 0):
        pass


# Serving.


async def serve() -> str:
    options: ServerOptions = {"max_connections": 100, "ping_interval": None, "server_header": None}
    async with open_server(echo, "127.0.0.1", 0, **options) as server:
        assert_type(server.port, int)
        assert_type(server.connections, frozenset[WebSocket])
        assert_type(server.statistics(), ServerStatistics)
        assert_type(server.statistics().refused.get("timeout"), int | None)
        await server.shutdown(grace=5, stagger=1, close_connections=False)
        return server.url


async def serve_in_group(context: ssl.SSLContext) -> None:
    async with anyio.create_task_group() as tg:
        server: WebSocketServer = await tg.start(
            partial(serve_websocket, echo, "127.0.0.1", 0, ssl=context, idle_timeout=60)
        )
        tg.start_soon(partial(serve_websocket, echo, unix_path="/run/echo", backlog=10))
        tg.start_soon(server.wait_closed)


async def serve_sockets(listening: Sequence[socket.socket]) -> None:
    listener = await anyio.create_tcp_listener(local_port=0)
    config = ServerConfig(
        extensions=[ServerPerMessageDeflateFactory()],
        hosts=["example.org", re.compile(r".*\.example\.org")],
        logger=logging.LoggerAdapter(logging.getLogger("ws"), {"app": "echo"}),
        on_handler_error="raise",
        origins=["https://example.org", re.compile("https://.*"), None],
        trusted_proxies=["10.0.0.0/8", "unix"],
    )
    await serve_websocket(echo, listeners=[*listening, listener], config=config)


async def accept(stream: ByteStream, sock: socket.socket) -> None:
    for one in (stream, sock):
        async with accept_websocket(one, max_size=1000) as ws:
            assert_type(ws, WebSocket)


async def others_accept() -> None:
    serve = endpoint(greet, compression=None)
    assert_type(serve, Endpoint)
    listener = await anyio.create_tcp_listener(local_port=0)
    await listener.serve(endpoint(echo))

    async def authenticated(stream: SocketStream) -> None:
        await serve("hello", stream)

    await listener.serve(authenticated)
    await serve.shutdown(grace=1)


# Hooks, as functions, methods, and objects.


async def health(ws: WebSocket, request: Request) -> Response | None:
    assert_type(ws.path_parameters.get("room"), str | None)
    return Response.text(200, "fine\n") if request.path == "/health" else None


async def never(ws: WebSocket, request: Request) -> None:
    pass


async def stamped(ws: WebSocket, request: Request, response: Response) -> None:
    response.headers["X-Path"] = request.path


async def page(request: Request) -> Response:
    return Response.text(404, f"There is no {request.path}.\n", {"Cache-Control": "no-store"})


async def report(ws: WebSocket, exc: Exception) -> None:
    print(ws.id, exc)


class Members:
    async def __call__(self, ws: WebSocket, request: Request) -> Response | None:
        return await self.check(ws, request)

    async def check(self, ws: WebSocket, request: Request) -> Response | None:
        return Response.text(403, "no\n") if "Cookie" not in request.headers else None

    async def knows(self, username: str, password: str) -> bool:
        return (username, password) == ("ada", "secret")


def later(ws: WebSocket, request: Request) -> Awaitable[Response | None]:
    return health(ws, request)


PROCESS_REQUEST: list[ProcessRequest] = [health, never, Members(), Members().check, later]
PROCESS_RESPONSE: ProcessResponse = stamped
HANDLE_HTTP: HandleHTTP = page
ON_ERROR: list[OnHandlerError] = ["log", "raise", report]
ERROR_HOOK: HandlerErrorHook = report
CREDENTIALS: CheckCredentials = Members().knows


async def hooked() -> None:
    auth = basic_auth("staff", check_credentials=Members().knows)
    assert_type(auth, ProcessRequest)

    async def asked(ws: WebSocket, request: Request) -> Response | None:
        refusal = await auth(ws, request)
        assert_type(refusal, Response | None)
        assert_type(ws.username, str | None)
        return refusal or await health(ws, request)

    async with open_server(
        *(echo, "127.0.0.1", 0),
        process_request=asked,
        process_response=stamped,
        handle_http=page,
        on_handler_error=report,
        additional_headers=lambda request: {"X-Path": request.path},
        select_subprotocol=lambda protocol, offered: offered[0] if offered else None,
    ):
        pass
    async with open_server(
        *(echo, "127.0.0.1", 0),
        process_request=basic_auth("staff", [("ada", "secret"), ("bob", "secret too")]),
    ):
        pass


class Counting(ServerObserver):
    def __init__(self) -> None:
        self.closed_with: list[int] = []

    def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
        print(remote_address, cause, exc)

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        self.closed_with.append(code)


# Routes.

router = Router()


@router.route("/rooms/{name}", process_request=health)
async def room(ws: WebSocket, name: str) -> int:
    return len(name)


@router.route("/")
async def index(ws: WebSocket) -> None:
    await ws.send("welcome")


async def routed(ws: WebSocket) -> None:
    assert_type(await room(ws, "tea"), int)  # it is what it was
    router.add("/chat", Chat())
    above = Router()
    above.add("/app/{rest...}", router)
    async with open_server(above, "127.0.0.1", 0, observer=Counting()):
        pass


# The protocol without I/O.


def without_io(data: bytes) -> list[bytes]:
    server = ServerProtocol(subprotocols=["chat"], max_size=None)
    server.receive_data(data)
    for event in server.events_received():
        if isinstance(event, Request):
            server.send_response(server.accept(event))
        elif isinstance(event, Frame):
            assert_type(event.data, bytes)
    assert_type(server.state, State)
    client = ClientProtocol("ws://localhost/")
    client.send_request(client.connect())
    client.send_text(b"hello")
    return server.data_to_send() + client.data_to_send()
