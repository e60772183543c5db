"""The Sans-I/O connection: decoder, assembler and state, put in order.

How input runs: `receive_data` feeds the decoder and takes frames out until it needs more bytes. A
violation by the peer is never raised to the caller; it fails the connection (`fail`) and becomes the
cause of `close_exc`. After a Close frame or a failure, input is dropped.

Two switches are for those who drive the protocol on behalf of an application that may be slow, both
off by default:

* `budget` and `max_events` stop `receive_data` in the middle of its input once what it produced
  reaches so many bytes or events (64 KiB of compressed input can be 63 MiB of messages). The raw rest
  is kept; `input_pending` tells, and ``receive_data(b"")`` goes on.
* `hold_failures` keeps a violation back, so that the application can see and answer what came before
  it: `failure_held` tells, `release_failure` fails the connection.

The end of the stream takes its place behind input that is pending.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

from ..exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ProtocolError,
    ProtocolViolation,
)
from ._pure_codec import encode_header
from .codec import encode_frame
from .extensions.base import Extension
from .frames import (
    OK_CLOSE_CODES,
    BytesLike,
    Close,
    CloseCode,
    Frame,
    FrameDecoder,
    Opcode,
    check_close,
    describe,
)
from .headers import Headers
from .http import Request, Response
from .logs import LoggerLike, log
from .masking import masking_key
from .messages import MAX_FRAGMENTS, Fragment, MessageAssembler
from .prepared import AS_IT_IS, PreparedMessage
from .state import ConnectionState, Side, State, Trigger
from .trace import head_lines

__all__ = ["SEND_EOF", "Event", "Message", "Protocol"]

Event = Request | Response | Frame
"""What `Protocol.events_received` gives."""

Message = str | bytes | Fragment | Frame
"""What `Protocol.messages_received` gives: whole messages, fragments, and control frames."""

SEND_EOF: Final = b""
"""In what `Protocol.data_to_send` returns: half-close the TCP connection."""

MAX_PONGS: Final = 16
"""Automatic Pongs that wait to be written. RFC 6455, 5.5.3, asks for one, in answer to the latest Ping; but
peers that ping more than once in a round trip are better off with an answer to each."""

# An attribute of an enumeration takes as long as a call.
_CONT: Final = Opcode.CONT
_OPEN: Final = State.OPEN
_CLIENT: Final = Side.CLIENT

EVENT_OVERHEAD: Final = 128
"""Bytes that an event is charged beyond its payload, for the objects that carry it."""


class Protocol:
    """A WebSocket connection without I/O.

    :param side: which end this is
    :param state: the state to begin with
    :param max_size: bytes that an incoming message may have; None disables the limit
    :param max_fragment_size: bytes that one frame of it may have; None for no other limit than *max_size*
    :param max_fragments: frames that it may have, empty ones counted
    :param auto_pong: whether a Ping is answered; if not, by `send_pong`
    :param logger: defaults to ``anyio_ws.client`` or ``anyio_ws.server``
    """

    __slots__ = (
        "_assembler",
        "_auto_pong",
        "_close_rcvd",
        "_close_sent",
        "_debug",
        "_decoder",
        "_eof_pending",
        "_eof_received",
        "_eof_sent",
        "_events",
        "_extensions",
        "_failure",
        "_held_failure",
        "_messages",
        "_new_assembler",
        "_pong_at",
        "_pongs",
        "_produced",
        "_produced_events",
        "_rcvd_then_sent",
        "_sending",
        "_state",
        "_stopped",
        "_writes",
        "budget",
        "handshake_exc",
        "hold_failures",
        "id",
        "input_over",
        "logger",
        "masking_key",
        "max_events",
        "plain",
        "remote_address",
        "side",
        "subprotocol",
    )

    def __init__(
        self,
        side: Side,
        *,
        state: State = State.OPEN,
        max_size: int | None = 2**20,
        max_fragment_size: int | None = None,
        max_fragments: int = MAX_FRAGMENTS,
        auto_pong: bool = True,
        logger: LoggerLike | None = None,
    ) -> None:
        self.id: uuid.UUID = uuid.uuid4()
        """Tells connections apart, in logs for example."""
        self.logger: LoggerLike = logger or logging.getLogger(f"anyio_ws.{side.name.lower()}")
        """Frames are logged here at DEBUG, if that is enabled now."""
        self.remote_address: object = None
        """The peer's, for `log`: whoever moves the bytes knows it."""
        self.side: Final = side
        self.subprotocol: str | None = None
        """What the handshake negotiated."""
        self.handshake_exc: Exception | None = None
        """Why the opening handshake failed; None if it didn't."""
        self.budget: int | None = None
        """Bytes that one call of `receive_data` may produce; None for no limit."""
        self.max_events: int | None = None
        """Events or messages that one call of `receive_data` may produce; None for no limit."""
        self.hold_failures: bool = False
        """Whether a violation waits for `release_failure`."""
        self.masking_key: Callable[[], bytes] = masking_key
        """Where a client's masking keys come from. What it raises comes out of sending messages."""

        self._debug = self.logger.isEnabledFor(logging.DEBUG)
        self._state = ConnectionState(state)
        self._auto_pong = auto_pong
        self._new_assembler = partial(
            MessageAssembler,
            max_size=max_size,
            max_fragment_size=max_fragment_size,
            max_fragments=max_fragments,
        )
        self._extensions: tuple[Extension, ...] = ()
        self._set_extensions(())
        self.input_over: bool = state is State.CLOSED
        """Whether nothing more will be received: after a Close frame, a failure or the end."""
        self._eof_received = False
        self._eof_pending = False
        self._eof_sent = False
        self._held_failure: ProtocolViolation | None = None
        self._failure: Exception | None = None
        self._close_rcvd: Close | None = None
        self._close_sent: Close | None = None
        self._rcvd_then_sent: bool | None = None
        self._sending: Opcode | None = None  # of the fragmented message that is being sent
        self._events: list[Event] = []
        self._messages: list[Message] | None = None
        self._produced = self._produced_events = 0  # by the present call of receive_data
        self._stopped = False  # in the middle of the input, by the budget
        self._writes: list[bytes] = []
        self._pongs = 0  # automatic Pongs in _writes
        self._pong_at = 0  # where the latest of them is

    def log(
        self, level: int, message: str, *args: object, exc_info: BaseException | None = None
    ) -> None:
        """Log something about this connection.

        Each record has the attributes ``connection_id``, which is `id` as a string, and ``remote_address``.
        """
        if self.logger.isEnabledFor(level):
            extra = {"connection_id": str(self.id), "remote_address": self.remote_address}
            log(self.logger, level, extra, message, *args, exc_info=exc_info)

    def _log_head(self, direction: str, start: str, headers: Headers, body: bytes = b"") -> None:
        for line in head_lines(start, headers, body):
            self.log(logging.DEBUG, "%s %s", direction, line)

    # What is known about the connection.

    @property
    def logs_frames(self) -> bool:
        """Whether frames are logged."""
        return self._debug

    @property
    def state(self) -> State:
        """The state of the connection (RFC 6455, sections 4.1, 4.2, 7.1.3 and 7.1.4)."""
        return self._state.current

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The extensions that the handshake negotiated."""
        return self._extensions

    @property
    def close_code(self) -> int | None:
        """The close code received; 1006 if the connection ended without; None before it is closed."""
        if self.state is not State.CLOSED:
            return None
        return CloseCode.ABNORMAL_CLOSURE if self._close_rcvd is None else self._close_rcvd.code

    @property
    def close_reason(self) -> str | None:
        """The close reason received; None before the connection is closed."""
        if self.state is not State.CLOSED:
            return None
        return "" if self._close_rcvd is None else self._close_rcvd.reason

    @property
    def close_rcvd(self) -> Close | None:
        """The Close frame received, if there was one."""
        return self._close_rcvd

    @property
    def close_sent(self) -> Close | None:
        """The Close frame sent, if there was one."""
        return self._close_sent

    @property
    def close_exc(self) -> ConnectionClosed:
        """The exception for whoever tries to use the closed connection, made anew each time.

        :raises AssertionError: the connection isn't closed: codes aren't known before
        """
        assert self.state is State.CLOSED, "the connection isn't closed yet"
        return self.closing_exc

    @property
    def closing_exc(self) -> ConnectionClosed:
        """As `close_exc`, but from what is known so far.

        Nothing of it changes any more once `input_over` is true.
        """
        rcvd, sent = self._close_rcvd, self._close_sent
        normal = sent is not None and sent.code in OK_CLOSE_CODES
        if rcvd is not None:
            normal = normal and rcvd.code in OK_CLOSE_CODES
        elif self.input_over:
            normal = False
        exc = (ConnectionClosedOK if normal else ConnectionClosedError)(
            rcvd, sent, self._rcvd_then_sent
        )
        exc.__cause__ = self._failure or self.handshake_exc
        exc.connection_id = self.id
        return exc

    def close_expected(self) -> bool:
        """Whether the peer should end the TCP connection soon.

        If so, close it after a short timeout in case the peer doesn't. Ask after any of the
        ``receive_...`` and ``send_...`` methods and `fail`.
        """
        if self.state is State.CONNECTING:
            return self._eof_sent  # that is, if the handshake failed
        # Who sent a Close frame, or failed the connection, waits for the other's Close frame or, once
        # both were exchanged, for the end of the stream (RFC 6455, 7.1.1).
        return self.state is State.CLOSING

    # Input.

    def receive_data(self, data: BytesLike) -> None:
        """Take bytes from the network. They may change after this returns.

        Afterwards `data_to_send` and `events_received` may have something. Bytes that break the
        protocol fail the connection; they raise nothing.

        :raises EOFError: `receive_eof` was called
        """
        if self._eof_received and (data or not self.input_pending):
            raise EOFError("data after the end of the stream")
        self._receive(data if isinstance(data, bytes) else _as_view(data))

    def receive_whole(
        self, data: bytes | memoryview, budget: int | None, max_events: int | None
    ) -> list[str | bytes] | None:
        """Take bytes from the network by a short cut, after `collect_messages`.

        Between two messages of an open connection nearly all that arrives is whole messages that nothing
        has to be decided about. These are returned, in place of `messages_received`. The rest, from the first
        byte that isn't so, is kept: `input_pending` tells, and ``receive_data(b"")`` goes on with it.

        :param budget: as the attribute, for this call
        :param max_events: as the attribute, for this call
        :return: None if there is no short cut now; then nothing was done
        """
        assembler = self._assembler
        if (
            self._state.current is not _OPEN
            or self._eof_received
            or self._held_failure is not None
            or self._messages != []
            or self._debug
            or not assembler.expects_nothing_special
        ):
            return None
        taken = self._decoder.feed_whole(
            data, assembler.max_frame_size, budget, max_events, EVENT_OVERHEAD
        )
        if taken is None:
            return None
        messages, self._stopped = taken
        return messages

    def receive_eof(self) -> None:
        """Learn that the peer's stream ended. Calling it again does nothing.

        Afterwards `data_to_send` returns ``[b""]`` or ``[]``; there are no further events, unless
        input is pending.
        """
        if not self._eof_received:
            self._eof_received = True
            self._eof_pending = True
            self._end_if_drained()

    @property
    def input_pending(self) -> bool:
        """Whether ``receive_data(b"")`` would find input that was held back by `budget`."""
        return self._stopped and not self.input_over

    @property
    def mid_message(self) -> bool:
        """Whether a part of a message, or of a frame, has arrived and the rest hasn't."""
        return self._assembler.mid_message or self._decoder.mid_frame

    @property
    def failure_held(self) -> bool:
        """Whether a violation waits for `release_failure`."""
        return self._held_failure is not None

    def release_failure(self) -> None:
        """Let a violation that was held back fail the connection now."""
        violation, self._held_failure = self._held_failure, None
        if violation is not None:
            self._fail_for(violation)
            self._end_if_drained()

    def events_received(self) -> list[Event]:
        """Fetch what was received since the last call: a Request or Response, then frames."""
        events, self._events = self._events, []
        return events

    # Output.

    def send_continuation(self, data: BytesLike, fin: bool) -> None:
        """Send a Continuation frame (RFC 6455, section 5.6).

        :param data: more of what the first frame has
        :param fin: whether it's the last frame of the message
        :raises ProtocolError: no fragmented message is being sent, or the connection isn't open
        """
        self.send_data(Opcode.CONT, _as_bytes(data), fin)

    def send_text(self, data: BytesLike, fin: bool = True, *, compress: bool = True) -> None:
        """Send a Text frame (RFC 6455, section 5.6).

        :param data: text, encoded as UTF-8
        :param fin: False if it's the first frame of a fragmented message
        :param compress: whether an extension may compress the message
        :raises ProtocolError: a fragmented message is being sent, or the connection isn't open
        """
        self.send_data(Opcode.TEXT, _as_bytes(data), fin, compress=compress)

    def send_binary(self, data: BytesLike, fin: bool = True, *, compress: bool = True) -> None:
        """Send a Binary frame (RFC 6455, section 5.6).

        :param fin: False if it's the first frame of a fragmented message
        :param compress: whether an extension may compress the message
        :raises ProtocolError: a fragmented message is being sent, or the connection isn't open
        """
        self.send_data(Opcode.BINARY, _as_bytes(data), fin, compress=compress)

    def send_data(
        self, opcode: Opcode, data: bytes, fin: bool = True, *, compress: bool = True
    ) -> int:
        """Send a Text, Binary or Continuation frame: `send_text`, `send_binary`, `send_continuation`.

        :return: the bytes that it has, in the one write that it is
        """
        if self._state.current is not _OPEN:
            self._require_open()
        if (opcode is _CONT) is (self._sending is None):
            raise self._out_of_order(opcode)
        if not self._extensions and not self._debug:
            key = self.masking_key() if self.side is _CLIENT else None
            self._writes.append(encode_frame(fin << 7 | opcode, data, key))
        else:
            self._write_encoded(Frame(opcode, data, fin), compress=compress)
        if fin:
            self._sending = None
        elif opcode is not _CONT:
            self._sending = opcode
        return len(self._writes[-1])

    def send_header(self, opcode: Opcode, size: int) -> bytes | None:
        """Send a whole message without copying its payload behind the header, for who writes both at once.

        :return: what is to be written, with the payload, of *size* bytes, behind it: neither is in
            `data_to_send`. None if that has to be masked, or an extension may change it: nothing was done
        :raises ProtocolError: the connection isn't open
        """
        if self._extensions or self._debug or self.side is _CLIENT:
            return None
        if self._sending is not None or opcode is _CONT:
            return None
        self._require_open()
        return encode_header(0x80 | opcode, size)

    def send_prepared(self, message: PreparedMessage) -> None:
        """Send a whole message that is sent on other connections, too, without encoding it again.

        :raises ProtocolError: a fragmented message is being sent, or the connection isn't open
        """
        self._require_open()
        if self._sending is not None:
            raise self._out_of_order(message.opcode)
        extensions = self._extensions
        extension = extensions[0] if extensions else None
        # Each of several extensions transforms what another has made.
        setting = message.setting(extension) if len(extensions) < 2 else None
        if setting is None or self._debug:
            for opcode, data, fin, *_ in message.parts():
                self.send_data(opcode, data, fin, compress=message.compress)
            return
        if self.side is _CLIENT:
            frames = message.frames(setting, extension)
            self._writes += [frame.serialize(self.masking_key()) for frame in frames]
        else:
            self._writes += message.written(setting, extension)
        if extension is not None and setting != AS_IT_IS:
            extension.forget_encoded()

    def send_close(
        self, code: int | None = None, reason: str = "", *, cut_short: bool = False
    ) -> None:
        """Send a Close frame (RFC 6455, section 5.5.1); nothing can be sent after it.

        :param cut_short: also in the middle of a fragmented message, which then never ends
        :raises ProtocolError: a fragmented message is being sent, the code isn't valid, there is a
            reason without a code, or the connection isn't open
        :raises ValueError: the reason is longer than 123 bytes in UTF-8
        """
        self._require_open()
        if self._sending is not None and not cut_short:
            raise ProtocolError("close frame while a fragmented message is being sent")
        if code is not None:
            check_close(code, reason)
        self._send_close(Close(CloseCode.NO_STATUS_RCVD if code is None else code, reason))

    def send_ping(self, data: BytesLike) -> None:
        """Send a Ping frame (RFC 6455, section 5.5.2).

        :raises ProtocolError: the connection isn't open
        :raises ValueError: more than 125 bytes
        """
        self._require_open()
        self._write_frame(Frame(Opcode.PING, _as_bytes(data)))

    def send_pong(self, data: BytesLike) -> None:
        """Send a Pong frame (RFC 6455, section 5.5.3).

        :raises ProtocolError: the connection isn't open
        :raises ValueError: more than 125 bytes
        """
        self._require_open()
        self._write_frame(Frame(Opcode.PONG, _as_bytes(data)))

    def send_frame(self, frame: Frame) -> None:
        """Send a frame as it is, whatever the protocol says about it: reserved opcodes and bits, any size.

        For tests, and for what goes beyond RFC 6455. It isn't compressed, but masked if it's a client's. None
        of it is taken note of: a message that begins so has to be continued so, and after a Close frame the
        connection is as open as before.

        :raises ProtocolError: the connection isn't open
        :raises ValueError: the opcode doesn't have four bits
        """
        self._require_open()
        opcode, data, *flags = frame
        frame = Frame(Opcode(opcode), _as_bytes(data), *flags)
        wire = frame.serialize_unchecked(self.masking_key() if self.side is _CLIENT else None)
        if self._debug:
            self.log(logging.DEBUG, "> %s", describe(frame))
        self._writes.append(wire)

    def fail(self, code: int, reason: str = "") -> None:
        """Fail the connection (RFC 6455, section 7.1.7): send a Close frame, take no more input.

        With 1006 no Close frame is sent. A server half-closes at once; a client lets the server. When
        the connection is closing or closed there is no Close frame to send any more.

        :raises ProtocolError: the code isn't valid, or the handshake isn't over (reject it instead)
        :raises ValueError: the reason is longer than 123 bytes in UTF-8
        """
        if self.state is State.CONNECTING:
            raise ProtocolError("can't fail a connection that is CONNECTING: reject the handshake")
        if code != CloseCode.ABNORMAL_CLOSURE:
            check_close(code, reason)
            if self.state is State.OPEN:
                self._send_close(Close(code, reason))
        elif self.state is State.OPEN:
            self._state.process(Trigger.FAILED)
        if self.side is Side.SERVER:
            self._send_eof()
        self.input_over = True
        self._end_if_drained()  # input that was pending is no longer

    def data_to_send(self) -> list[bytes]:
        """Fetch what is to be written to the network, in order; b"" (`SEND_EOF`): half-close it."""
        writes, self._writes = self._writes, []
        self._pongs = 0
        return writes

    # For those who want messages instead of frames.

    def collect_messages(self) -> None:
        """From now on gather messages, for `messages_received`, and no events for frames."""
        if self._messages is None:
            self._messages = []

    def messages_received(self) -> list[Message]:
        """Fetch what was received since the last call, after `collect_messages`.

        A message that came in one frame is a plain `str` or `bytes`; a fragmented one comes as a
        `Fragment` for each frame; Ping, Pong and Close as a `Frame`.
        """
        assert self._messages is not None, "collect_messages() wasn't called"
        messages, self._messages = self._messages, []
        return messages

    # Input, inside.

    def _set_extensions(self, extensions: Sequence[Extension]) -> None:
        self._extensions = tuple(extensions)
        self.plain: bool = not extensions and self.side is Side.SERVER and not self._debug
        """Whether what is sent depends on nothing but the message: `PreparedMessage.plain` can be written."""
        self._assembler = self._new_assembler(extensions=extensions)
        self._decoder = FrameDecoder(self._assembler, masked=self.side is Side.SERVER)

    def _receive(self, data: bytes | memoryview) -> None:
        """Take *data* in the present phase; the handshake overrides this until it is over."""
        self._receive_frames(data)

    def _receive_frames(self, data: bytes | memoryview) -> None:
        if self.input_over or self._held_failure is not None:
            return
        decoder = self._decoder
        if data:
            decoder.feed(data)
        self._produced = self._produced_events = 0
        self._stopped = False
        try:
            while not self.input_over:
                if self._messages is not None and not self._debug:
                    self._take_messages(self._messages)
                if self._over_budget:
                    self._stopped = decoder.unread > 0
                    break
                frame = decoder.next_frame()
                if frame is None:
                    break
                self._receive_frame(frame)
        except ProtocolViolation as violation:
            if self.hold_failures:
                self._held_failure = violation
            else:
                self._fail_for(violation)
        finally:
            decoder.keep()
        self._end_if_drained()

    def _take_messages(self, messages: list[Message]) -> None:
        """Take in whole messages that need no judging, by the codec's short cut."""
        if not self._assembler.expects_nothing_special:
            return
        budget, most = self.budget, self.max_events
        if budget is not None:
            budget -= self._produced
        if most is not None:
            most -= self._produced_events
        taken, produced = self._decoder.take_messages(
            self._assembler.max_frame_size, budget, most, EVENT_OVERHEAD
        )
        if taken:
            messages += taken
            self._produced += produced
            self._produced_events += len(taken)

    @property
    def _over_budget(self) -> bool:
        if self.budget is not None and self._produced >= self.budget:
            return True
        return self.max_events is not None and self._produced_events >= self.max_events

    def _receive_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode < 0x8:
            coded = frame
            frame, content = self._assembler.end_frame(frame)
            if self._debug:
                shown = describe(frame, coded, self._assembler.wire_size)
                self.log(logging.DEBUG, "< %s", shown)
            if self._messages is not None:
                whole = frame.fin and opcode is not Opcode.CONT
                self._messages.append(content if whole else Fragment(content, frame.fin))
        else:
            if self._debug:  # before the answer to it is logged
                self.log(logging.DEBUG, "< %s", describe(frame))
            if opcode is Opcode.PING and self._auto_pong:
                self._answer_ping(frame.data)
            elif opcode is Opcode.CLOSE:
                self._receive_close(Close.parse(frame.data))
            if self._messages is not None:
                self._messages.append(frame)
        if self._messages is None:
            self._events.append(frame)
        self._produced += len(frame.data) + EVENT_OVERHEAD
        self._produced_events += 1

    def _answer_ping(self, data: bytes) -> None:
        # After our Close frame nothing more may follow. Before it, only the latest of several pings
        # needs an answer (RFC 6455, 5.5.3), so a flood of them costs a few Pongs and no more.
        if self.state is not State.OPEN:
            return
        if self._pongs < MAX_PONGS:
            self._pongs += 1
            self._pong_at = len(self._writes)
            self._write_frame(Frame(Opcode.PONG, data))
        else:
            self._writes[self._pong_at] = self._serialize(Frame(Opcode.PONG, data))

    def _receive_close(self, close: Close) -> None:
        self._close_rcvd = close
        if self.state is State.OPEN:
            # RFC 6455, 5.5.1: answer with a Close frame, typically echoing the status code. A message
            # that we were sending in fragments is cut short.
            self._send_close(close)
        elif self._close_sent is not None:
            self._rcvd_then_sent = False
        if self.side is Side.SERVER:
            self._send_eof()  # RFC 6455, 7.1.1: the server closes the TCP connection first
        self.input_over = True

    def _fail_for(self, violation: ProtocolViolation) -> None:
        self._failure = violation
        if self._debug:
            self.log(logging.DEBUG, "! failing the connection: %s", violation)
        self.fail(violation.code, _shortened(violation.reason))

    def _end_if_drained(self) -> None:
        """Let the end of the stream take effect, when nothing that came before it is pending."""
        if not self._eof_pending or self._held_failure is not None or self.input_pending:
            return
        self._eof_pending = False
        self._receive_end()

    def _receive_end(self) -> None:
        """The stream ended; the handshake overrides this until it is over."""
        if self.state is not State.CONNECTING and not self.input_over:
            self._failure = EOFError(
                "the stream ended in the middle of a frame"
                if self._decoder.mid_frame
                else "the stream ended without a close frame"
            )
        self._send_eof()
        self.input_over = True
        if self.state is not State.CLOSED:  # one that was made closed stays so
            self._state.process(Trigger.EOF)

    # Output, inside.

    def _require_open(self) -> None:
        if self._state.current is not State.OPEN:
            raise ProtocolError(f"can't send: the connection is {self.state.name}")

    def _out_of_order(self, opcode: Opcode) -> ProtocolError:
        if self._sending is None:
            return ProtocolError("continuation frame without a fragmented message to continue")
        return ProtocolError(
            f"{opcode.name} frame inside a fragmented {self._sending.name} message"
        )

    def _write_encoded(self, frame: Frame, *, compress: bool) -> None:
        try:
            coded = frame
            for extension in self._extensions:
                coded = extension.encode(coded, compress=compress)
            self._writes.append(self._serialize(coded, frame))
        except BaseException:  # no memory; Ctrl-C
            for extension in self._extensions:
                extension.forget_encoded()
            raise

    def _send_close(self, close: Close) -> None:
        self._write_frame(Frame(Opcode.CLOSE, close.serialize()))
        self._close_sent = close
        if self._close_rcvd is not None:
            self._rcvd_then_sent = True
        self._state.process(Trigger.CLOSE_SENT)

    def _serialize(self, frame: Frame, uncoded: Frame | None = None) -> bytes:
        key = None
        if self.side is _CLIENT:
            key = masking_key() if self.masking_key is masking_key else self._given_key(frame)
        data = frame.serialize(key)
        if self._debug:
            shown = describe(frame) if uncoded is None else describe(uncoded, frame)
            self.log(logging.DEBUG, "> %s", shown)
        return data

    def _given_key(self, frame: Frame) -> bytes:
        if frame.opcode < 0x8:
            return self.masking_key()
        # Most control frames are sent without anybody asking, who could be told: in answer to others, to keep
        # the connection alive, to fail it.
        try:
            return self.masking_key()
        except Exception as exc:
            self.log(
                logging.ERROR, "no masking key for a %s frame", frame.opcode.name, exc_info=exc
            )
            return masking_key()

    def _write_frame(self, frame: Frame) -> None:
        self._writes.append(self._serialize(frame))

    def _send_eof(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            self._writes.append(SEND_EOF)


def _as_bytes(data: object) -> bytes:
    return data if isinstance(data, bytes) else bytes(_as_view(data))


def _as_view(data: object) -> memoryview:
    """The bytes of *data*, without a copy if it is a view of bytes.

    A bytearray is copied: a view of our own, kept by the traceback of a violation, would forbid to resize it.
    """
    if not isinstance(data, bytearray | memoryview):
        raise TypeError(f"bytes, bytearray or memoryview expected, not {type(data).__name__}")
    if isinstance(data, memoryview):
        view = cast("memoryview[int]", data)
        if view.format == "B" and view.ndim == 1 and view.contiguous:
            return view
    return memoryview(bytes(cast("bytearray | memoryview[int]", data)))


def _shortened(reason: str) -> str:
    """Cut *reason* to what fits into a Close frame."""
    return reason.encode()[:123].decode(errors="ignore")
