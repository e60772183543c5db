"""`WebSocket`: the one connection class, of client and server, on trio and asyncio.

It is the waiting half of a connection; `anyio_ws.connection` is the half that never waits. Every method
here that waits looks at the connection's state again whenever it is woken, and takes what it came for
without an await in between: that is what makes cancelling safe.
"""

from __future__ import annotations

import codecs
import secrets
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType, SimpleNamespace, TracebackType
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, overload

import anyio
from anyio.abc import ObjectReceiveStream, ObjectStream, SocketAttribute
from anyio.lowlevel import checkpoint

from .backlog import MAX_BUFFERED, Delivery, Overflow
from .connection import Connection
from .contexts import comes_only_once
from .errors import Call, not_open_yet
from .events import Event, FragmentEvent
from .exceptions import ConnectionClosed, ConnectionClosedOK, ProtocolError
from .json_codecs import ANYTHING, DecodedMessages, json_decoder, json_encoder
from .lowlevel import LowLevel
from .notice import Notice
from .offering import offer
from .options import ServerConfig
from .receiving import Discarding, Events, Fragments, MessageReader, take_nowait, wait_for_message
from .sansio import CloseCode, Extension, Opcode, Request, Response, State
from .sansio.frames import MAX_CONTROL_PAYLOAD, MAX_FRAME, check_close
from .sansio.logs import LoggerLike
from .sansio.prepared import PreparedMessage
from .sansio.uri import without_credentials
from .statistics import ConnectionStatistics
from .trust import client_address
from .waiting import pass_turnstile, wait_for

__all__ = [
    "Delivery",
    "Fragments",
    "MessageReader",
    "Overflow",
    "PreparedMessage",
    "Sendable",
    "WebSocket",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview

Sendable: TypeAlias = (
    str
    | BytesLike
    | PreparedMessage
    | Iterable[str]
    | Iterable[BytesLike]
    | AsyncIterable[str]
    | AsyncIterable[BytesLike]
)
"""What `WebSocket.send` takes: a message, or the fragments of one."""

_T = TypeVar("_T")

_OTHER_BYTES: Final = (bytearray, memoryview)
_WHOLE: Final = (str, bytes, *_OTHER_BYTES)

_new_decoder: Final = codecs.getincrementaldecoder("utf-8")

_SENT: Final = Delivery.SENT
_TEXT: Final = Opcode.TEXT  # an attribute of an enumeration takes as long as a call
_BINARY: Final = Opcode.BINARY


class WebSocket(ObjectStream[str | bytes]):
    """A WebSocket connection: messages in both directions.

    Text messages are `str`, binary messages `bytes`. It is an AnyIO object stream, and a typed attribute
    provider that answers for the socket and TLS below. One task at a time may receive; any number may
    send, their messages go out in the order of the calls.

    Reading goes on while nobody waits in `receive`, up to ``read_limit`` bytes or ``max_queue``
    messages; pings are answered. Nothing that is received while there is room depends on the
    application to do anything.

    A `receive` or `send` that doesn't have to wait is no checkpoint: after 32 of them in a row, or a
    millisecond, one yields to the scheduler. On trio every call looks whether it is cancelled; on asyncio
    every 16th does, for between two turns of the event loop only the task itself could have done that.
    Whoever cancels, and wherever: what `receive` returned was taken, and what it didn't is still there.

    A closed connection makes every method raise `ConnectionClosed`, which is the fitting AnyIO stream
    error as well: ``anyio.EndOfStream`` when receiving after the peer closed normally,
    ``anyio.ClosedResourceError`` after this side closed, ``anyio.BrokenResourceError`` otherwise.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        url: str,
        request: Request,
        response: Response | None = None,
    ) -> None:
        """Not for users: `open_websocket`, servers and `accept_websocket` make connections."""
        self._connection = connection
        self._user_data: SimpleNamespace | None = None
        self.url: Final = url
        """Where a client connected to, after redirects without credentials; what a server was asked for."""
        self._shutting_down: Notice | None = None  # of a server
        self.request: Final = request
        """The opening handshake's request."""
        self._response = response

    username: str | None = None
    """Who the client is, as `basic_auth` found out, or a hook of yours; None where nobody asked."""

    path_parameters: Mapping[str, str] = MappingProxyType({})
    """What the parameters of a path are, as `Router` found out; those of the routers above, too."""

    def __repr__(self) -> str:
        return f"<WebSocket {without_credentials(self.url)} {self.state.name} id={self.id}>"

    # What is known.

    @property
    def id(self) -> uuid.UUID:
        """Tells connections apart, in logs for example."""
        return self._connection.protocol.id

    @property
    def logger(self) -> LoggerLike:
        """Where it says what happens: the option of that name."""
        return self._connection.protocol.logger

    @property
    def response(self) -> Response:
        """The opening handshake's response.

        :raises ProtocolError: there is none yet: a hook of the server decides about it
        """
        if self._response is None:
            raise ProtocolError("the opening handshake isn't over: there is no response yet")
        return self._response

    def set_response(self, response: Response) -> None:
        """Not for users: the opening handshake is over."""
        self._response = response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol negotiated, if any."""
        return self._connection.protocol.subprotocol

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The extensions negotiated."""
        return self._connection.protocol.extensions

    @property
    def state(self) -> State:
        """The state of the connection (RFC 6455, section 4 and 7)."""
        return self._connection.protocol.state

    @property
    def close_code(self) -> int | None:
        """The close code received; 1006 if it ended without; None while it is open."""
        protocol = self._connection.protocol
        if protocol.close_rcvd is not None:
            return protocol.close_rcvd.code
        return CloseCode.ABNORMAL_CLOSURE if self._connection.input_over else None

    @property
    def close_reason(self) -> str | None:
        """The close reason received; "" if it ended without; None while it is open."""
        protocol = self._connection.protocol
        if protocol.close_rcvd is not None:
            return protocol.close_rcvd.reason
        return "" if self._connection.input_over else None

    @property
    def closed_exc(self) -> ConnectionClosed | None:
        """Why the connection ended: what `receive` raises, or will raise after what has arrived.

        None while it is open. A new exception each time, with the same in it.
        """
        connection = self._connection
        return connection.closed(Call.RECEIVE) if connection.input_over else None

    @property
    def latency(self) -> float:
        """Seconds between the last answered ping and its pong; 0 before there was one."""
        return self._connection.latency

    @property
    def buffered_amount(self) -> int:
        """Bytes that were sent, by `send` and the like, and haven't left."""
        return self._connection.buffered_amount

    def statistics(self) -> ConnectionStatistics:
        """How many messages and bytes went in each direction, until now or until it ended."""
        return self._connection.statistics()

    @property
    def local_address(self) -> Any:
        """This end's socket address: ``(host, port)`` or a path; None where there is no socket."""
        return self.extra(SocketAttribute.local_address, None)

    @property
    def remote_address(self) -> Any:
        """The peer's socket address; see `local_address`."""
        return self.extra(SocketAttribute.remote_address, None)

    @property
    def client_address(self) -> str | None:
        """The client's IP address, for a server; None where that isn't known: in memory, on a Unix socket.

        It is the peer's, unless that is one of ``trusted_proxies``. Then it is what these say: in
        X-Forwarded-For, read from its end, the first address that isn't one of them.
        """
        config = self._connection.config
        if not isinstance(config, ServerConfig):
            return None
        return client_address(self.remote_address, self.request.headers, config.trusted_proxies)

    @property
    def user_data(self) -> SimpleNamespace:
        """A place for your own attributes: ``ws.user_data.name = "alice"``."""
        if self._user_data is None:
            self._user_data = SimpleNamespace()
        return self._user_data

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's typed attributes of what is below."""
        return self._connection.transport.extra_attributes

    @property
    def shutting_down(self) -> Notice:
        """Whether the server shuts down: ``if ws.shutting_down``, ``await ws.shutting_down``.

        A handler that is told so has the ``grace`` of `WebSocketServer.shutdown` to end by itself. A client
        is never told.
        """
        if self._shutting_down is None:
            self._shutting_down = Notice()
        return self._shutting_down

    def set_shutting_down(self, notice: Notice) -> None:
        """Not for users: the server's own notice."""
        self._shutting_down = notice

    @property
    def lowlevel(self) -> LowLevel:
        """Ways past the rules of the protocol: frames of any kind, whatever comes of it."""
        return LowLevel(self._connection)

    # Receiving.

    @overload
    async def receive(self, *, decode: Literal[True]) -> str: ...
    @overload
    async def receive(self, *, decode: Literal[False]) -> bytes: ...
    @overload
    async def receive(self, *, decode: bool | None = None) -> str | bytes: ...
    # By keyword, as it is declared above: a function that insists on that is called 30 ns slower.
    async def receive(self, decode: bool | None = None) -> str | bytes:
        """Receive the next message.

        Cancelling it loses nothing, also of a message of which only a part has arrived: the next call
        returns it. What had arrived before the connection ended is delivered first.

        :param decode: True: always as `str`; False: always as `bytes`, text in UTF-8; None: as it was sent
        :raises UnicodeDecodeError: it is to be text and is no UTF-8. ``object`` of the exception is the
            message, and the connection stays open
        :raises ConnectionClosed: the connection is closed, and everything that arrived was received
        :raises anyio.BusyResourceError: another task receives, or `events` and the like took over
        """
        connection = self._connection
        tired = False
        if connection.inbox.count and connection.receiver is None:
            tired = connection.pace.due()
            if not tired:
                if decode is None:
                    return connection.take()
                return _converted(connection.take(), decode)
        connection.claim(self)
        try:
            if tired:
                await connection.pace.rest()
            if not connection.inbox.count:
                await wait_for_message(connection)
            message = connection.take()
        finally:
            connection.disclaim(self)
        return message if decode is None else _converted(message, decode)

    @overload
    def receive_nowait(self, *, decode: Literal[True]) -> str: ...
    @overload
    def receive_nowait(self, *, decode: Literal[False]) -> bytes: ...
    @overload
    def receive_nowait(self, *, decode: bool | None = None) -> str | bytes: ...
    def receive_nowait(self, *, decode: bool | None = None) -> str | bytes:
        """Receive a message that has arrived.

        :param decode: as for `receive`
        :raises anyio.WouldBlock: there is none
        :raises UnicodeDecodeError: as `receive`
        :raises ConnectionClosed: as `receive`
        :raises anyio.BusyResourceError: as `receive`
        """
        connection = self._connection
        connection.claim(self)
        try:
            message = take_nowait(connection)
        finally:
            connection.disclaim(self)
        return message if decode is None else _converted(message, decode)

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    @overload
    async def receive_json(self) -> Any: ...
    @overload
    async def receive_json(self, type: type[_T]) -> _T: ...
    @overload
    async def receive_json(self, type: object) -> Any: ...
    async def receive_json(self, type: object = ANYTHING) -> Any:
        """Receive the next message, text or binary, and decode it as JSON.

        Cancelling it loses nothing, as `receive`.

        :param type: what it is to be: a type of msgspec's or pydantic's, a dataclass, a typed dictionary,
            ``list[Trade]`` and whatever else one of these libraries knows. A type that is neither's is
            decoded strictly, by msgspec if the option ``json`` names it, or else by one of them that is
            installed. Without it, whatever the option ``json`` makes of the JSON
        :raises InvalidJSON: the message isn't that. It is ``message`` of the exception, and the connection
            stays open
        :raises TypeError: no library that is installed knows *type*; nothing was received
        :raises ConnectionClosed: as `receive`
        :raises anyio.BusyResourceError: as `receive`
        """
        decode = json_decoder(self._connection.config.json, type)
        return decode(await self.receive())

    @overload
    def iter_json(self) -> AsyncIterator[Any]: ...
    @overload
    def iter_json(self, type: type[_T]) -> AsyncIterator[_T]: ...
    @overload
    def iter_json(self, type: object) -> AsyncIterator[Any]: ...
    def iter_json(self, type: object = ANYTHING) -> AsyncIterator[Any]:
        """Iterate over messages as `receive_json` gives them: ``async for trade in ws.iter_json(Trade)``.

        It ends as iterating over the connection does. What it raises doesn't end it: it can be iterated over
        further.

        :raises TypeError: as `receive_json`, at once
        """
        return DecodedMessages(self, json_decoder(self._connection.config.json, type))

    def receive_fragments(self) -> Fragments:
        """Receive the next message fragment by fragment: ``async with ws.receive_fragments() as parts``.

        Iterating over *parts* gives `str` or `bytes` as they arrive. Leaving the block early discards the
        rest of the message, without waiting for it. Inside, `receive` raises
        ``anyio.BusyResourceError``.
        """
        return Fragments(self._connection)

    @overload
    def events(
        self, *, fragments: Literal[False] = False
    ) -> AbstractAsyncContextManager[ObjectReceiveStream[Event]]: ...
    @overload
    def events(
        self, *, fragments: Literal[True]
    ) -> AbstractAsyncContextManager[ObjectReceiveStream[FragmentEvent]]: ...
    @overload
    def events(
        self, *, fragments: bool
    ) -> AbstractAsyncContextManager[ObjectReceiveStream[Event | FragmentEvent]]: ...
    def events(
        self, *, fragments: bool = False
    ) -> AbstractAsyncContextManager[ObjectReceiveStream[object]]:
        """Receive everything that arrives, typed: ``async with ws.events() as events``.

        Gives a stream of `anyio_ws.events`: messages, pings (which are answered all the same, unless
        ``auto_pong=False`` leaves that to you: `send_pong`), pongs, and a `Closed` at the end, after which
        the stream ends. Inside, `receive` raises ``anyio.BusyResourceError``; messages not taken by the end
        of the block are left for it. It takes a task and a scheduling round per event, which `receive`
        doesn't.

        :param fragments: give messages in their fragments, as they arrive, with the pings and pongs between
            them where they came. Fragments of a text are `str`: a character that is cut comes with the rest
            of it. What is left of a message that was begun is discarded at the end of the block
        """
        return Events[object](self._connection, fragments=fragments)

    def discard_incoming(self) -> AbstractAsyncContextManager[None]:
        """Drop what arrives, for programs that only send: ``async with ws.discard_incoming():``.

        Messages that are here, or arrive inside the block, are dropped; pings are answered, pongs taken
        note of, and the peer's Close is seen: then `send` raises. Without it, a program that never
        receives would leave the peer's Close, and pongs, unread behind the messages that fill the
        inbox. Inside, `receive` raises ``anyio.BusyResourceError``.
        """
        return Discarding(self._connection)

    def attach_reader(self, notify: Callable[[], None]) -> MessageReader:
        """Take over receiving without a task that waits: for those who merge connections.

        *notify* is called, without arguments and from wherever the data came from, whenever there may
        be something to take from the reader; it must neither wait nor raise. Until the reader is
        detached, `receive` raises ``anyio.BusyResourceError``.

        :raises anyio.BusyResourceError: somebody receives already
        """
        return MessageReader(self._connection, notify)

    # Sending.

    async def send(
        self, item: Sendable, *, text: bool | None = None, compress: bool = True
    ) -> None:
        """Send a message: `str` as text, bytes-like as binary, unless *text* says otherwise.

        A `PreparedMessage` has been told by itself whether it is text, and whether to compress it.

        Waits, in order of arrival, while more than ``write_limit`` bytes haven't left. When it returns the
        message is committed, and will be sent whole unless the connection ends; when it is cancelled,
        nothing of the message was or will be sent.

        A message leaves at once, unless it follows another within a millisecond and nothing was received in
        between. Such messages leave together: when the task waits for anything, when 16 KiB have gathered,
        or with the next one after that millisecond. Before a long computation, `flush` sees to it.

        An iterable or asynchronous iterable of `str` or of bytes-like objects is sent as the fragments of
        one message, each as soon as it is there; an empty one sends nothing. Other messages wait
        meanwhile. If it is cancelled, raises, or gives a fragment of another type, after the first
        fragment was sent, the message can't be completed: the connection is failed with 1011. So it is by
        a fragment that isn't UTF-8 where that is needed; one may end in the middle of a character.

        :param text: True: as text, also what is bytes-like, which must be UTF-8; False: as binary, also `str`
        :param compress: whether to compress it, if compression was negotiated: False for what is compressed
            already, or holds secrets next to what an attacker chooses; a `PreparedMessage` says it itself
        :raises TypeError: *item* is none of these (a mapping isn't either); or fragments of mixed types
        :raises ValueError: text isn't UTF-8, or a `str` can't be encoded: nothing was sent
        :raises ConnectionClosed: the connection is closed
        """
        connection = self._connection
        if connection.pace.due():
            await connection.pace.rest()
        if isinstance(item, _WHOLE):
            opcode, data = _encode(item) if text is None else _encode_as(item, text)
            if not connection.turnstile.open:
                await pass_turnstile(connection)
            if len(data) <= MAX_FRAME:
                connection.commit(opcode, data, compress=compress)
            else:
                self._commit(opcode, data, compress=compress)
        elif isinstance(item, PreparedMessage):
            if text is not None:
                raise TypeError("a PreparedMessage says itself whether it is text")
            if not connection.turnstile.open:
                await pass_turnstile(connection)
            connection.commit_prepared(item)
        elif isinstance(item, Mapping):
            raise TypeError("a mapping can't be sent; send its keys() or values(), or serialize it")
        else:
            await self._send_fragments(_as_async(item), text, compress)

    def send_nowait(
        self, item: str | BytesLike, *, text: bool | None = None, compress: bool = True
    ) -> None:
        """Send a message if that doesn't take waiting; see `send`.

        :raises anyio.WouldBlock: more than ``write_limit`` bytes haven't left, or others wait to send
        :raises TypeError: *item* is neither `str` nor bytes-like
        :raises ValueError: as `send`
        :raises ConnectionClosed: the connection is closed
        """
        opcode, data = _encode(item) if text is None else _encode_as(item, text)
        if not self._connection.turnstile.open:
            raise anyio.WouldBlock
        self._commit(opcode, data, compress=compress)

    async def send_json(
        self,
        obj: object = ANYTHING,
        /,
        *,
        text: bool = True,
        compress: bool = True,
        **members: object,
    ) -> None:
        """Send *obj* as JSON, or an object with these members: ``send_json(symbol="EURUSD", bid=1.0953)``.

        It is encoded before anything is waited for. Beside what the encoder knows, it may hold dataclasses,
        and objects of types of msgspec's and pydantic's.

        :param text: whether it is a text message; False: a binary one
        :param compress: as for `send`
        :raises TypeError: it can't be encoded as JSON; both *obj* and *members*
        :raises ValueError: it can't either: NaN or a circle, where the encoder refuses those
        :raises ConnectionClosed: the connection is closed
        """
        if obj is ANYTHING:
            obj = members
        elif members:
            raise TypeError("send_json() takes an object or members, not both")
        data = json_encoder(self._connection.config.json)(obj)
        await self.send(data, text=text, compress=compress)

    def offer(
        self,
        message: PreparedMessage,
        overflow: Overflow = "disconnect",
        max_buffered: int = MAX_BUFFERED,
        key: Hashable | None = None,
    ) -> Delivery:
        """Send a message without waiting, or do what *overflow* says: for those who fan out.

        `broadcast` does this for each of its connections, and explains the parameters. What waits because
        there is no room for it keeps its place among the tasks that wait in `send`: it is sent after what
        those have who came before it, and before what those have who come later.

        :param key: compared with those of all who offer messages to this connection
        :raises ConnectionClosed: the connection broke, and it wasn't known yet that it is closed
        """
        frame = message.plain
        if frame is not None and self._connection.pass_on(frame):
            return _SENT
        return offer(self._connection, message, overflow, max_buffered, key)

    async def flush(self) -> None:
        """Wait until everything that was sent has been taken by the kernel, or the stream below.

        Cancelling only ends the waiting.

        :raises ConnectionClosed: the connection broke meanwhile
        """
        await checkpoint()
        connection = self._connection
        while connection.buffered_amount and not connection.output_over:
            await wait_for(connection, connection.progress)
        if connection.output_over:
            raise connection.closed(Call.SEND)

    async def ping(self, data: str | BytesLike | None = None) -> float:
        """Ping the peer and wait for the pong; returns the latency in seconds.

        A later pong answers earlier pings too (RFC 6455, section 5.5.3). The pong is read in its turn: while
        the inbox is full because nobody receives, it isn't. Cancelling frees the payload.

        :param data: at most 125 bytes; None for random bytes
        :raises ValueError: too long, or the payload of another ping that waits
        :raises ConnectionClosed: the connection is closed, or was before the pong came
        """
        payload = _control_payload(data)
        connection = self._connection
        await self._wait_for(connection.has_room_for_ping)
        ping = connection.commit_ping(payload)
        try:
            while ping.latency is None:
                connection.release_failure()
                if connection.input_over or connection.output_over:
                    raise connection.closed(Call.SEND)
                await wait_for(connection, ping.answered)
            return ping.latency
        finally:
            if connection.pings.get(payload) is ping:
                del connection.pings[payload]

    async def send_ping(self, data: str | BytesLike | None = None) -> None:
        """Send a ping and don't wait for the pong, which will update `latency`.

        :param data: as for `ping`
        :raises ValueError: as `ping`
        :raises ConnectionClosed: the connection is closed
        """
        payload = _control_payload(data)
        await self._wait_for(self._connection.has_room_for_ping)
        self._connection.commit_unawaited_ping(payload)

    async def send_pong(self, data: str | BytesLike = b"") -> None:
        """Send a pong: an unsolicited one is a one-way heartbeat (RFC 6455, section 5.5.3).

        If 16 pongs haven't left yet, this one replaces the last of them: it answers earlier pings, too. With
        ``auto_pong=False`` it is how to answer a ping.

        :param data: at most 125 bytes
        :raises ValueError: *data* is too long
        :raises ConnectionClosed: the connection is closed
        """
        payload = _control_payload(data)
        await checkpoint()
        self._connection.check_open()
        self._connection.protocol.send_pong(payload)
        self._connection.flush_protocol()

    # Closing.

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: perform the closing handshake and wait for the end of the TCP connection.

        Never takes longer than ``close_timeout`` seconds: then the connection is aborted. What was sent
        before goes out first; what has arrived, or arrives meanwhile, is dropped. Does nothing more than
        wait when the connection is closing, and nothing when it is closed. Cancelling aborts the
        connection at once.

        :param code: a close code that may be sent (RFC 6455, section 7.4)
        :param reason: at most 123 bytes in UTF-8
        :raises ProtocolError: *code* isn't such a code
        :raises ValueError: *reason* is too long
        """
        check_close(code, reason)  # raises what is wrong before anything is ended
        connection = self._connection
        if connection.protocol.state is State.CONNECTING:
            raise not_open_yet()
        try:
            await checkpoint()  # cancelled already, as by anyio.aclose_forcefully: no Close frame
            connection.start_closing(code, reason)
            with anyio.move_on_after(connection.config.close_timeout):
                while not connection.lost:
                    await wait_for(connection, connection.changed)
            connection.transport.abort()
            while not connection.lost:
                await wait_for(connection, connection.changed)
        finally:
            connection.closed_here = True
            connection.transport.abort()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the connection as leaving `open_websocket`'s block does; what the block raised goes on."""
        code = CloseCode.GOING_AWAY
        if exc_val is None:
            code = CloseCode.NORMAL_CLOSURE
        elif isinstance(exc_val, Exception):
            code = CloseCode.INTERNAL_ERROR
        # Before anything can be cancelled: the Close frame leaves without waiting, if it can.
        self._connection.start_closing(code, "")
        try:
            if code is CloseCode.GOING_AWAY:
                self._connection.transport.abort()
            else:
                await self.aclose(code)
        except anyio.get_cancelled_exc_class() as cancellation:
            if exc_val is None or comes_only_once(cancellation):
                raise

    async def send_eof(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame and keep reading: nothing can be sent any more, `receive` goes on.

        The peer's answering Close frame ends that. Does nothing when the connection is closing.

        :param code: as for `aclose`
        :param reason: as for `aclose`
        :raises ProtocolError: as `aclose`
        :raises ValueError: as `aclose`
        """
        await checkpoint()
        self._connection.send_close(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the connection is closed, whoever closes it. Doesn't close it.

        Once the Close frames were exchanged, the peer has ``close_timeout`` seconds to end the TCP
        connection. While the inbox is full because nobody receives, the peer's Close frame isn't read.
        """
        await checkpoint()
        connection = self._connection
        while not (connection.lost and connection.input_over):
            connection.release_failure()
            if connection.input_over:
                with anyio.move_on_after(connection.config.close_timeout) as scope:
                    while not connection.lost:
                        await wait_for(connection, connection.changed)
                if scope.cancelled_caught:
                    connection.transport.abort()
            else:
                await wait_for(connection, connection.changed)

    # Inside.

    def _commit(
        self, opcode: Opcode, data: bytes, *, fin: bool = True, compress: bool = True
    ) -> None:
        """Commit a message or a fragment of one, cut into frames if it is very long."""
        connection = self._connection
        size = len(data)
        if size <= MAX_FRAME:
            connection.commit(opcode, data, fin=fin, compress=compress)
            return
        for start in range(0, size, MAX_FRAME):
            end = start + MAX_FRAME
            last = fin and end >= size
            try:
                connection.commit(opcode, data[start:end], fin=last, compress=compress)
            except BaseException:  # no memory; insecure_masking_key
                if start:
                    connection.break_off()  # what was committed of it can't be completed
                raise
            opcode = Opcode.CONT

    async def _send_fragments(
        self, items: AsyncIterable[object], text: bool | None, compress: bool
    ) -> None:
        connection = self._connection
        kind: Opcode | None = None
        check = _new_decoder().decode if text else None
        try:
            async for item in items:
                opcode, data = _encode(item)
                if kind is not None and opcode is not kind:
                    raise TypeError(f"a {kind.name} message can't have a {opcode.name} fragment")
                if check is not None:
                    check(data)
                if kind is None:
                    await pass_turnstile(connection)
                    connection.sending_fragments = True
                    kind = opcode
                    first = opcode if text is None else _opcode(text)
                    self._commit(first, data, fin=False, compress=compress)
                else:
                    await self._wait_for(connection.has_room)
                    self._commit(Opcode.CONT, data, fin=False)
            if kind is not None:
                if check is not None:
                    check(b"", True)
                await self._wait_for(connection.has_room)
                self._commit(Opcode.CONT, b"")
        except BaseException:
            if kind is not None:
                connection.break_off()
            raise
        finally:
            if kind is not None:
                connection.sending_fragments = False
                connection.turnstile.wake()

    async def _wait_for(self, room: Callable[[], bool]) -> None:
        """Wait until there is *room*: for a Ping, or for the next fragment of a message being sent.

        Neither waits for the turns of those who send messages.
        """
        await checkpoint()
        while not room():
            await wait_for(self._connection, self._connection.progress)


def _encode(item: object) -> tuple[Opcode, bytes]:
    """The opcode and payload of a message, or of a fragment.

    :raises TypeError: it is neither `str` nor bytes-like
    """
    if isinstance(item, str):
        return _TEXT, item.encode()
    if isinstance(item, bytes):
        return _BINARY, item
    if isinstance(item, _OTHER_BYTES):
        return _BINARY, bytes(cast("bytearray | memoryview[int]", item))
    raise TypeError(f"str or bytes-like expected, not {type(item).__name__}")


def _encode_as(item: object, text: bool) -> tuple[Opcode, bytes]:
    """As `_encode`, with the opcode that was asked for.

    :raises UnicodeDecodeError: it is to be text and isn't UTF-8
    """
    opcode, data = _encode(item)
    if text and opcode is _BINARY:
        data.decode()
    return _opcode(text), data


def _opcode(text: bool) -> Opcode:
    return _TEXT if text else _BINARY


def _converted(message: str | bytes, decode: bool) -> str | bytes:
    """
    :raises UnicodeDecodeError: it is to be `str` and isn't UTF-8
    """
    if isinstance(message, str):
        return message if decode else message.encode()
    return message.decode() if decode else message


def _control_payload(data: str | BytesLike | None) -> bytes:
    payload = secrets.token_bytes(4) if data is None else _encode(data)[1]
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(
            f"payload of {len(payload)} bytes; at most {MAX_CONTROL_PAYLOAD} are allowed in a ping or pong"
        )
    return payload


def _as_async(items: object) -> AsyncIterable[object]:
    if isinstance(items, AsyncIterable):
        return cast("AsyncIterable[object]", items)
    if isinstance(items, Iterable):
        return _AsyncIterator(cast("Iterable[object]", items))
    raise TypeError(f"str, bytes-like or an iterable of them expected, not {type(items).__name__}")


class _AsyncIterator:
    """A plain iterable, for ``async for``. No generator: nobody would close it."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> AsyncIterator[object]:
        return self

    async def __anext__(self) -> object:
        for item in self._items:
            return item
        raise StopAsyncIteration
