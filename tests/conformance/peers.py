"""Other people's WebSockets, to talk to: ``websockets`` and aiohttp, as servers and as clients.

Both run on asyncio only, and we run on trio as well: a peer is an asyncio program in a thread of its
own (`in_thread`). `Peer` makes the libraries look alike: it adds nothing to what they send. `Link` is
one way of being connected to one of them; its `Link.talk` runs both ends of a conversation and hands
back what each end returned.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import aiohttp
import anyio
import anyio.to_thread
import websockets
import websockets.asyncio.client
import websockets.asyncio.server
from aiohttp import web

from anyio_ws import ClientConfig, ServerConfig, WebSocket, open_server, open_websocket

LIMIT = 30.0
"""Seconds for a conversation. Far more than any takes: only a hang meets it."""

Message: TypeAlias = str | bytes
A = TypeVar("A")
B = TypeVar("B")


# -- threads


async def outcome(future: concurrent.futures.Future[A]) -> A:
    """Wait for what another thread will set."""
    return await anyio.to_thread.run_sync(future.result, LIMIT, abandon_on_cancel=True)


class _Protocol(asyncio.Protocol):
    """Passes everything on to another protocol, and tells when the connection is lost."""

    def __init__(self, protocol: asyncio.BaseProtocol, connections: list[asyncio.Event]) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol
        self._connections = connections
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.append(self._lost)
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)
        self._lost.set()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that can wait for the end of its connections.

    aiohttp doesn't, over TLS, and would leave them to the garbage collector when the loop is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connections: list[asyncio.Event] = []

    # Their arguments are many, and all passed on.
    async def create_connection(  # type: ignore[override]
        self, factory: Any, *args: Any, **options: Any
    ) -> Any:
        transport, watched = await super().create_connection(
            lambda: _Protocol(factory(), self._connections), *args, **options
        )
        return transport, watched.protocol

    async def create_server(  # type: ignore[override]
        self, factory: Any, *args: Any, **options: Any
    ) -> Any:
        return await super().create_server(
            lambda: _Protocol(factory(), self._connections), *args, **options
        )

    async def connections_lost(self) -> None:
        for lost in self._connections:
            await lost.wait()


@asynccontextmanager
async def in_thread(
    program: Callable[[], Coroutine[Any, Any, A]],
) -> AsyncIterator[concurrent.futures.Future[A]]:
    """Run an asyncio *program* in a thread of its own; gives what will be its outcome.

    When the block is left the program has ended, cancelled if need be, and so has the thread.
    """
    future: concurrent.futures.Future[A] = concurrent.futures.Future()
    started: concurrent.futures.Future[Callable[[], object]] = concurrent.futures.Future()

    async def main() -> A:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert isinstance(loop, _Loop)
        assert task is not None
        started.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            async with asyncio.timeout(LIMIT):
                return await program()
        finally:
            async with asyncio.timeout(LIMIT):
                await loop.connections_lost()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=_Loop) as runner:
                result = runner.run(main())
        except BaseException as exc:
            future.set_exception(exc)
            if not started.done():
                started.set_exception(exc)
        else:
            future.set_result(result)

    thread = threading.Thread(target=run, name="peer")
    thread.start()
    try:
        try:
            yield future
        finally:
            await _end(thread, future, started)
    except Exception as exc:
        theirs = future.exception()
        if theirs is not None and theirs is not exc:
            exc.add_note(f"The peer ended with {theirs!r}")
        raise


async def _end(
    thread: threading.Thread,
    future: concurrent.futures.Future[A],
    started: concurrent.futures.Future[Callable[[], object]],
) -> None:
    with anyio.CancelScope(shield=True):
        cancel = await outcome(started)
        if not future.done():
            try:
                cancel()
            except RuntimeError:  # its loop has just ended
                pass
        await anyio.to_thread.run_sync(thread.join)


# -- peers


class PeerClosed(Exception):
    """The connection is closed, as the peer sees it: code and reason received; 1006 if there are none."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Peer(ABC):
    """A connection in the hands of another library."""

    @property
    @abstractmethod
    def subprotocol(self) -> str | None:
        """What was negotiated, as the peer sees it."""

    @abstractmethod
    async def send(self, message: Message) -> None: ...

    @abstractmethod
    async def receive(self) -> Message:
        """Receive a message; Pings are answered meanwhile.

        :raises PeerClosed: the connection is closed
        """

    @abstractmethod
    async def ping(self, payload: bytes) -> None:
        """Send a Ping and wait for the Pong that answers it; no message may come first."""

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> int | None:
        """Perform the closing handshake, dropping what comes meanwhile; returns the code received."""

    @abstractmethod
    async def send_close_without_code(self) -> None: ...

    @abstractmethod
    def abort(self) -> None:
        """Vanish, without a Close frame and without ending TLS."""

    async def echo(self) -> tuple[int, str]:
        """Send back what comes until the connection is closed; returns code and reason."""
        try:
            while True:
                await self.send(await self.receive())
        except PeerClosed as exc:
            return exc.code, exc.reason

    async def receive_all(self) -> tuple[list[Message], tuple[int, str]]:
        """Receive until the connection is closed; returns the messages, and code and reason."""
        messages = []
        try:
            while True:
                messages.append(await self.receive())
        except PeerClosed as exc:
            return messages, (exc.code, exc.reason)

    async def wait_closed(self) -> tuple[int, str]:
        """Wait until the connection is closed, no message may come; returns code and reason."""
        messages, closed = await self.receive_all()
        assert messages == []
        return closed


class WebsocketsPeer(Peer):
    """Of the library ``websockets``."""

    def __init__(
        self,
        ws: websockets.asyncio.client.ClientConnection | websockets.asyncio.server.ServerConnection,
    ) -> None:
        self.ws = ws

    @property
    def subprotocol(self) -> str | None:
        return self.ws.subprotocol

    async def send(
        self, message: Message | Iterable[str] | Iterable[bytes] | AsyncIterable[Message]
    ) -> None:
        try:
            await self.ws.send(message)
        except websockets.ConnectionClosed as exc:
            raise self._closed(exc) from None

    async def receive(self) -> Message:
        try:
            return await self.ws.recv()
        except websockets.ConnectionClosed as exc:
            raise self._closed(exc) from None

    def _closed(self, exc: websockets.ConnectionClosed) -> PeerClosed:
        return PeerClosed(1006) if exc.rcvd is None else PeerClosed(exc.rcvd.code, exc.rcvd.reason)

    async def ping(self, payload: bytes) -> None:
        await (await self.ws.ping(payload))

    async def close(self, code: int = 1000, reason: str = "") -> int | None:
        async with asyncio.TaskGroup() as tasks:
            # It doesn't read on, not even the Close frame, while there is too much to receive.
            tasks.create_task(self.receive_all())
            await self.ws.close(code, reason)
        return self.ws.close_code

    async def send_close_without_code(self) -> None:
        async with self.ws.send_context():
            self.ws.protocol.send_close()

    def abort(self) -> None:
        self.ws.transport.abort()


class AiohttpPeer(Peer):
    """Of aiohttp. It is opened with ``autoping=False``, or it would hide the Pongs."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse | web.WebSocketResponse) -> None:
        self.ws = ws
        writer = ws._writer
        assert writer is not None
        self._transport = writer.transport

    @property
    def subprotocol(self) -> str | None:
        if isinstance(self.ws, web.WebSocketResponse):
            return self.ws.ws_protocol
        return self.ws.protocol

    async def send(self, message: Message) -> None:
        try:
            if isinstance(message, str):
                await self.ws.send_str(message)
            else:
                await self.ws.send_bytes(message)
        except ConnectionError:
            raise PeerClosed(1006) from None

    async def receive(self) -> Message:
        while True:
            message = await self.ws.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    assert isinstance(message.data, str | bytes)
                    return message.data
                case aiohttp.WSMsgType.PING:
                    await self.ws.pong(message.data)
                case aiohttp.WSMsgType.CLOSE:
                    # It has 0 for a Close frame without a code.
                    assert isinstance(message.data, int)
                    raise PeerClosed(message.data or 1005, message.extra or "")
                case _:
                    raise PeerClosed(1006)

    async def ping(self, payload: bytes) -> None:
        await self.ws.ping(payload)
        message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.PONG
        assert message.data == payload

    async def close(self, code: int = 1000, reason: str = "") -> int | None:
        await self.ws.close(code=code, message=reason.encode())
        return self.ws.close_code

    async def send_close_without_code(self) -> None:
        await self.ws.send_frame(b"", aiohttp.WSMsgType.CLOSE)

    def abort(self) -> None:
        self._transport.abort()


# -- libraries


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a peer is set up."""

    ssl: ssl.SSLContext | None = None
    subprotocols: tuple[str, ...] = ()
    max_size: int = 2**22
    """The libraries disagree whether a message of just this size is too big."""


class Library(ABC):
    """Makes peers. What isn't in `Setup` is as the library has it by default."""

    name: str
    echoes_close_code: bool
    """Whether it answers a Close frame with the code received (RFC 6455, section 5.5.1), or else 1000."""

    @abstractmethod
    def serve(
        self, handler: Callable[[Peer], Awaitable[None]], setup: Setup
    ) -> AbstractAsyncContextManager[int]:
        """Serve on 127.0.0.1, where only the path ``/`` is known; gives the port."""

    @abstractmethod
    def connect(self, url: str, setup: Setup) -> AbstractAsyncContextManager[Peer]:
        """Connect, and offer to compress.

        :raises Rejected: the server answered with another status than 101
        """


class Rejected(Exception):
    """The server answered the opening handshake with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Websockets(Library):
    name = "websockets"
    echoes_close_code = True

    @asynccontextmanager
    async def serve(
        self, handler: Callable[[Peer], Awaitable[None]], setup: Setup
    ) -> AsyncIterator[int]:
        async def handle(ws: websockets.asyncio.server.ServerConnection) -> None:
            await handler(WebsocketsPeer(ws))

        def only_root(
            ws: websockets.asyncio.server.ServerConnection, request: websockets.Request
        ) -> websockets.Response | None:
            return None if request.path == "/" else ws.respond(404, "Not Found\n")

        async with websockets.asyncio.server.serve(
            handle,
            "127.0.0.1",
            0,
            ssl=setup.ssl,
            subprotocols=[websockets.Subprotocol(name) for name in setup.subprotocols] or None,
            process_request=only_root,
            max_size=setup.max_size,
        ) as server:
            yield next(iter(server.sockets)).getsockname()[1]

    @asynccontextmanager
    async def connect(self, url: str, setup: Setup) -> AsyncIterator[Peer]:
        try:
            async with websockets.asyncio.client.connect(
                url,
                ssl=setup.ssl,
                subprotocols=[websockets.Subprotocol(name) for name in setup.subprotocols] or None,
                max_size=setup.max_size,
                proxy=None,
            ) as ws:
                yield WebsocketsPeer(ws)
        except websockets.InvalidStatus as exc:
            raise Rejected(exc.response.status_code) from None


class Aiohttp(Library):
    name = "aiohttp"
    echoes_close_code = False

    @asynccontextmanager
    async def serve(
        self, handler: Callable[[Peer], Awaitable[None]], setup: Setup
    ) -> AsyncIterator[int]:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            ws = web.WebSocketResponse(
                protocols=setup.subprotocols, max_msg_size=setup.max_size, autoping=False
            )
            await ws.prepare(request)
            await handler(AiohttpPeer(ws))
            return ws

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=setup.ssl).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def connect(self, url: str, setup: Setup) -> AsyncIterator[Peer]:
        try:
            async with aiohttp.ClientSession() as session:
                async with session.ws_connect(
                    url,
                    ssl=setup.ssl or True,
                    protocols=setup.subprotocols,
                    max_msg_size=setup.max_size,
                    compress=15,
                    autoping=False,
                ) as ws:
                    yield AiohttpPeer(ws)
        except aiohttp.WSServerHandshakeError as exc:
            raise Rejected(exc.status) from None


# -- links


Ours: TypeAlias = Callable[[WebSocket], Awaitable[A]]
Theirs: TypeAlias = Callable[[Peer], Awaitable[B]]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way of being connected: to which library, who is the client, and over what."""

    library: Library
    we_are_client: bool
    server_ssl: ssl.SSLContext | None = None
    client_ssl: ssl.SSLContext | None = None

    def answer_to(self, code: int) -> int:
        """The code of the Close frame with which the peer answers one with *code*."""
        return code if self.library.echoes_close_code else 1000

    async def talk(
        self,
        ours: Ours[A],
        theirs: Theirs[B],
        *,
        subprotocols: Sequence[str] = (),
        max_size: int = 2**20,
        compression: Literal["deflate"] | None = "deflate",
        peer_subprotocols: Sequence[str] = (),
        peer_max_size: int = 2**22,
    ) -> tuple[A, B]:
        """Connect, and run *ours* at our end while *theirs* runs at the peer's; returns what both return.

        Each end closes its connection when its function returns. What *ours* raises is raised, after it
        has had the consequences that it has in a block of `open_websocket`, or in a handler.
        """
        setup = Setup(
            ssl=self.client_ssl if not self.we_are_client else self.server_ssl,
            subprotocols=tuple(peer_subprotocols),
            max_size=peer_max_size,
        )
        with anyio.fail_after(LIMIT):
            if self.we_are_client:
                client_config = ClientConfig(
                    ssl=self.client_ssl,
                    subprotocols=subprotocols or None,
                    max_size=max_size,
                    compression=compression,
                )
                return await self._connect(ours, theirs, setup, client_config)
            else:
                server_config = ServerConfig(
                    ssl=self.server_ssl,
                    subprotocols=subprotocols or None,
                    max_size=max_size,
                    compression=compression,
                )
                return await self._accept(ours, theirs, setup, server_config)

    async def _connect(
        self, ours: Ours[A], theirs: Theirs[B], setup: Setup, config: ClientConfig
    ) -> tuple[A, B]:
        async with self.serve(theirs, setup) as (url, result):
            connected = False
            try:
                async with open_websocket(url, config=config) as ws:
                    connected = True
                    mine = await ours(ws)
            except Exception:
                if connected:  # the peer has yet to see what that means
                    await anyio.to_thread.run_sync(
                        concurrent.futures.wait, [result], LIMIT, abandon_on_cancel=True
                    )
                raise
            return mine, await outcome(result)

    @asynccontextmanager
    async def serve(
        self, theirs: Theirs[B], setup: Setup
    ) -> AsyncIterator[tuple[str, concurrent.futures.Future[B]]]:
        """Let the peer be a server, of one connection; gives its URL and what *theirs* will return."""
        bound: concurrent.futures.Future[int] = concurrent.futures.Future()

        async def program() -> B:
            connected: asyncio.Future[asyncio.Task[B]] = asyncio.get_running_loop().create_future()

            async def converse(peer: Peer) -> B:
                returned = await theirs(peer)
                await peer.close()
                return returned

            async def handler(peer: Peer) -> None:
                conversation = asyncio.create_task(converse(peer))
                connected.set_result(conversation)
                await asyncio.wait([conversation])  # what it raises is raised below

            async with self.library.serve(handler, setup) as port:
                bound.set_result(port)
                # If this is cancelled so is the conversation: leaving the block waits for the handler.
                return await (await connected)

        async with in_thread(program) as result:
            result.add_done_callback(lambda result: bound.cancel())  # if it couldn't even be bound
            scheme = "ws" if self.server_ssl is None else "wss"
            port = await outcome(bound)
            yield f"{scheme}://127.0.0.1:{port}/", result

    async def _accept(
        self, ours: Ours[A], theirs: Theirs[B], setup: Setup, config: ServerConfig
    ) -> tuple[A, B]:
        mine: list[A] = []
        result: list[B] = []
        failures: list[Exception] = []
        finished = anyio.Event()

        async def handler(ws: WebSocket) -> None:
            try:
                mine.append(await ours(ws))
            except Exception as exc:
                failures.append(exc)
                raise
            finally:
                finished.set()

        async with open_server(handler, "127.0.0.1", 0, config=config) as server:
            try:
                result.append(await self.connect(server.url, theirs, setup))
                await finished.wait()
            except Exception as exc:
                failures.append(exc)
        if failures:
            for other in failures[1:]:
                failures[0].add_note(f"The peer ended with {other!r}")
            raise failures[0]
        return mine[0], result[0]

    async def connect(self, url: str, theirs: Theirs[B], setup: Setup) -> B:
        """Let the peer be the client of a server of ours; returns what *theirs* returns."""

        async def program() -> B:
            async with self.library.connect(url, setup) as peer:
                return await theirs(peer)

        async with in_thread(program) as result:
            return await outcome(result)
