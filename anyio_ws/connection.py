"""The engine of a connection: `Protocol` and `Transport` brought together, without any waiting.

`Connection` is the transport's `Sink`. It decides the flow control of both directions:

* In: what the protocol makes of a chunk goes into the inbox. Reading pauses when finished messages
  exceed ``read_limit`` bytes or ``max_queue`` in number and resumes at half of both. The protocol's
  budget is what the inbox has room for, so one chunk can't overfill it; the raw rest waits inside the
  protocol until messages are taken.
* Out: what the protocol wants to send goes into the outbox, and from there to the transport whenever that
  has nothing unsent, so that a Ping can pass what hasn't reached the transport, and replace another Pong.

A violation by the peer takes effect when the application has taken, and could answer, everything that
came before it.

Reading never depends on writing here: neither direction calls into the other's waiting.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable
from time import perf_counter
from typing import Final, cast

import anyio
from anyio.abc import SocketAttribute

from .backlog import Backlog
from .errors import Call, closed_error, not_open_yet
from .exceptions import ConnectionClosed, ConnectionClosedOK, WebSocketError
from .inbox import Inbox
from .keepalive import Due, Keepalive
from .lifetime import Lifetime, Traffic
from .options import CommonConfig
from .outbox import JOINED, Outbox
from .sansio import SEND_EOF, CloseCode, Fragment, Frame, Opcode, Protocol, Request, Response, State
from .sansio.frames import MAX_CONTROL_PAYLOAD
from .sansio.prepared import PreparedMessage
from .statistics import ConnectionStatistics
from .transports.backend import current_pace, new_signal
from .transports.base import Reader, Transport
from .transports.scheduling import SECONDS
from .turnstile import Turnstile

__all__ = ["Connection"]


LONG_AGO: Final = -math.inf

A_PING: Final = 6 + MAX_CONTROL_PAYLOAD
"""Bytes that wait to leave and may be no more than a Ping."""

_WHOLE: Final[frozenset[type]] = frozenset({str, bytes})

_HANDSHAKE: Final = object()  # who receives until the connection is open

_OPEN: Final = State.OPEN  # an attribute of an enumeration takes as long as a call


class Ping:
    """A ping that was sent and not answered yet."""

    __slots__ = ("answered", "latency", "started")

    def __init__(self) -> None:
        self.started: float = 0.0  # when it was given to the transport
        self.latency: float | None = None
        self.answered: Final = new_signal()


class Connection:
    """Everything about a connection that doesn't wait."""

    __slots__ = (
        "_handshake",
        "_held",
        "_held_frames",
        "_keepalive",
        "_keepalive_ping",
        "_leaving",
        "_lifetime",
        "_mark",
        "_paused",
        "_sent_end",
        "_unawaited",
        "_will_pump",
        "_written_at",
        "backlog",
        "between_fragments",
        "changed",
        "closed_here",
        "config",
        "discarding",
        "express",
        "given_up",
        "inbox",
        "latency",
        "lost",
        "lost_cause",
        "messages_sent",
        "notify",
        "outbox",
        "output_over",
        "pace",
        "pings",
        "progress",
        "protocol",
        "reading",
        "receiver",
        "recording",
        "sending_fragments",
        "transport",
        "turnstile",
    )

    def __init__(self, protocol: Protocol, transport: Transport, config: CommonConfig) -> None:
        self.protocol: Final = protocol
        self.transport: Final = transport
        self.config: Final = config
        self.inbox: Final = Inbox()
        self.outbox: Final = Outbox()
        self.changed: Final = new_signal()
        """Set when there is something to receive, and when the state of the connection changed."""
        self.notify: Callable[[], None] | None = None
        """Called along with `changed`, for those who wait elsewhere."""
        self.progress: Final = new_signal()
        """Set when something has left, and when nothing can be sent any more."""
        self.pace: Final = current_pace()
        """Of the calls that don't have to wait."""
        self.turnstile: Final = Turnstile(self._may_send)
        """What those who send pass through."""
        self.backlog: Backlog | None = None
        """What was offered and waits for its turn there, if there is something."""
        self.receiver: object | None = _HANDSHAKE if protocol.state is State.CONNECTING else None
        """Who receives, by `claim`."""
        self.reading: Reader | None = None
        """Which a task that receives waits in."""
        self.sending_fragments: bool = False
        self.recording: bool = False
        """Whether Pings and Pongs go into the inbox, too."""
        self.between_fragments: bool = False
        """Whether they do so between the fragments of a message, and not before it."""
        self.discarding: bool = False
        """Whether nobody wants messages, for now."""
        self.pings: dict[bytes, Ping] = {}
        """By payload, in the order in which they were sent."""
        self.latency: float = 0.0
        self.messages_sent: int = 0
        self.closed_here: bool = False
        """Whether this side closed the connection, by `start_closing`."""
        self.output_over: bool = False
        """Whether the transport can't send any more."""
        self.express: bool = False
        """Whether `pass_on` has anything to look at: the connection is open and frames aren't its own."""
        self.lost: bool = False
        """Whether the transport is done."""
        self.lost_cause: Exception | None = None
        self.given_up: bool = False  # by the keepalive, which has logged why
        self._handshake: Request | Response | None = None
        self._leaving: list[Ping] = []  # pings in the outbox
        self._unawaited: bytes | None = None
        self._paused = False
        # When a message was last given to the transport, since it was our turn.
        self._written_at = LONG_AGO
        self._will_pump = False  # when the pass ends
        self._held = 0  # bytes that are still with the protocol, to leave together
        self._held_frames = 0
        self._sent_end = False  # whether this side was the first to send a Close frame
        self._keepalive: Keepalive | None = None  # while the connection is open
        self._keepalive_ping: Ping | None = None
        self._lifetime: Lifetime | None = None  # once it is open, if it has one
        self._mark: int | None = None  # of all bytes sent: when the keepalive's ping has left
        protocol.hold_failures = True
        protocol.collect_messages()
        if protocol.logs_frames:
            self.name_peer()
        transport.start(self)

    # The transport's calls.

    def data_received(self, chunk: bytes | memoryview) -> None:
        if self._keepalive is not None:
            self._keepalive.heard(self.transport.clock())
        self._written_at = LONG_AGO
        if not self.discarding:
            inbox, config, protocol = self.inbox, self.config, self.protocol
            messages = protocol.receive_whole(
                chunk, config.read_limit - inbox.size + 1, config.max_queue - inbox.count + 1
            )
            if messages is not None:
                if len(messages) == 1:
                    inbox.add(messages[0])
                else:
                    inbox.add_all(messages)
                if self._full:
                    self._after_input()
                    return
                if not protocol.input_pending:
                    self._tell_receiver()
                    return
                chunk = b""
        self._decode(chunk)

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self._after_input()

    def writable(self) -> None:
        self._will_pump = False
        self.flush_protocol()
        self.progress.set()
        self.turnstile.wake()

    def output_lost(self, cause: Exception) -> None:
        self.output_over = True
        self.lost_cause = cause
        self.outbox.clear()
        self._after_input()

    def alarm(self) -> None:
        if self._lifetime is not None:
            self._ask_lifetime(self._lifetime)
        if self._keepalive is not None:
            self._ask_keepalive(self._keepalive)
        self._set_alarm()

    def connection_lost(self, cause: Exception | None) -> None:
        self.output_over = True
        self.lost = True
        self.lost_cause = cause or self.lost_cause
        self.outbox.clear()
        self.protocol.receive_eof()
        self._after_input()

    # Input.

    def handshake_message(self) -> Request | Response | None:
        """Remove the peer's part of the opening handshake, once it has arrived."""
        message, self._handshake = self._handshake, None
        return message

    def after_handshake(self) -> None:
        """Let what the handshake decided take effect, in both directions."""
        self.receiver = None
        if self.protocol.state is State.OPEN:
            transport = self.transport
            self._keepalive = Keepalive(self.config, transport.clock(), transport.received_total)
            if self._paused:  # since the handshake; what came with it may fill the inbox already
                self._keepalive.paused()
            self._set_alarm()
            # What ``write_timeout`` has to be told of output isn't told there.
            self.express = self.protocol.plain and self.config.write_timeout is None
        self._collect()
        self._after_input()
        self._resume()

    def claim(self, reader: object) -> None:
        """Let *reader* be the one who receives.

        :raises anyio.BusyResourceError: somebody else is
        :raises ProtocolError: the connection isn't open yet
        """
        if self.receiver is _HANDSHAKE:
            raise not_open_yet()
        if self.receiver is not None:
            raise anyio.BusyResourceError("receiving from")
        self.receiver = reader

    def disclaim(self, reader: object) -> None:
        """Let others receive again, if *reader* was the one."""
        if self.receiver is reader:
            self.receiver = None
            self.notify = None

    def is_claimed_by(self, reader: object) -> bool:
        """Whether *reader* is the one who receives."""
        return self.receiver is reader

    def start_recording(self, *, between_fragments: bool) -> None:
        """Put Pings and Pongs into the inbox, too: before the message in assembly, or where they came."""
        self.recording = True
        self.between_fragments = between_fragments

    def stop_recording(self) -> None:
        """Drop the Pings and Pongs of the inbox, and put in no more."""
        self.recording = False
        self.inbox.drop_controls()
        if self._paused:
            self._resume()

    def start_discarding(self) -> None:
        """Drop the messages that are here, and those that arrive while `discarding` is true."""
        self.discarding = True
        self.read_in_run()
        self._drop_input()

    def take(self) -> str | bytes:
        """Remove the first finished message of the inbox."""
        message = self.inbox.take()
        if self._paused:
            self._resume()
        return message

    def take_part(self) -> None:
        """Remove the first fragment, Ping or Pong of the inbox."""
        self.inbox.take_part()
        if self._paused:
            self._resume()

    def skip_message(self) -> None:
        """Drop the rest of the first message."""
        self.inbox.skip()
        if self._paused:
            self._resume()

    def others_had_their_turn(self) -> None:
        """Note that the task which receives has waited."""
        self.pace.rested()
        self._written_at = LONG_AGO

    def read_in_run(self) -> None:
        """Have the transport read at once: no task will that receives."""
        if self.transport.reader is not None:
            self.transport.reader.give_back()

    def release_failure(self) -> None:
        """Let a violation take effect, if the application has taken everything that came before."""
        if self.protocol.failure_held and not self.inbox.count:
            self.protocol.release_failure()
            self._after_input()

    @property
    def readable(self) -> bool:
        """Whether there is a finished message, or won't be another one."""
        if self.inbox.count:
            return True
        protocol = self.protocol
        return protocol.failure_held or (protocol.input_over and not protocol.input_pending)

    @property
    def input_over(self) -> bool:
        """Whether nothing more will come into the inbox."""
        return self.protocol.input_over and not self.protocol.input_pending

    # Output.

    def commit(
        self, opcode: Opcode, data: bytes, *, fin: bool = True, compress: bool = True
    ) -> None:
        """Frame *data* and take it over for sending, all or nothing."""
        protocol, transport = self.protocol, self.transport
        if len(data) > JOINED and fin and not (self.has_output or transport.unsent):
            # With nothing before it, a large message needn't be copied behind its header.
            header = protocol.send_header(opcode, len(data))
            if header is not None:
                self.messages_sent += 1
                self._written_at = perf_counter()
                transport.write(header, data)
                self._output_moved()
                return
        size = protocol.send_data(opcode, data, fin, compress=compress)
        self.messages_sent += fin
        # It leaves at once, unless it follows another: those leave together when the scheduling pass ends, or
        # when they are many, or when the application takes its time before the next one.
        now = perf_counter()
        if now - self._written_at < SECONDS:
            self._held += size
            self._held_frames += 1
            if self._held + self.outbox.size < JOINED:
                if not self._will_pump:
                    self._will_pump = True
                    transport.call_writable()
                return
        self._written_at = now
        if self._held_frames or self.outbox.count or transport.unsent:
            self.flush_protocol()
            return
        for frame in protocol.data_to_send():  # as flush_protocol does
            transport.write(frame)
        if transport.unsent:
            self._output_moved()

    def commit_prepared(self, message: PreparedMessage) -> None:
        """As `commit`, for a message that goes to others, too. It leaves at once, unless something waits."""
        protocol, transport = self.protocol, self.transport
        if self._held_frames or self.outbox.count or transport.unsent:
            self.queue_prepared(message)
            self.pump()
            return
        protocol.send_prepared(message)
        self.messages_sent += 1
        frames = protocol.data_to_send()
        if len(frames) > 1:  # between them, a Ping may pass
            for frame in frames:
                self.outbox.add(frame)
            self.pump()
            return
        transport.write(frames[0])
        if transport.unsent:
            self._output_moved()

    def queue_prepared(self, message: PreparedMessage) -> None:
        """Take it over for sending, and leave it to `pump` to send it."""
        self._queue_output()  # what was before it
        self.protocol.send_prepared(message)
        self.messages_sent += 1
        self._queue_output()

    def pass_on(self, frame: bytes) -> bool:
        """Send a whole message that was framed for many, if nothing is in its way; otherwise do nothing.

        Here a broadcast spends its time. What waits in the outbox does so behind what the transport hasn't
        sent.
        """
        if (
            not self.express
            or self._held_frames
            or self.sending_fragments
            or self.turnstile.queue
            or self.transport.unsent
        ):
            return False
        self.messages_sent += 1
        self.transport.write(frame)
        return True

    def commit_unawaited_ping(self, payload: bytes, *, keepalive: bool = False) -> None:
        """Take a ping over for sending whose pong only updates `latency`.

        Of these only the last is remembered, so that a peer which answers none costs nothing.

        :raises ValueError: as `commit_ping`
        """
        if self._unawaited is not None:
            self.pings.pop(self._unawaited, None)
            self._unawaited = None
        self.commit_ping(payload, keepalive=keepalive)
        self._unawaited = payload

    def commit_ping(self, payload: bytes, *, keepalive: bool = False) -> Ping:
        """Take a ping over for sending.

        :param keepalive: it is the keepalive's, which is told when it has left
        :raises ValueError: the payload is too long, or that of a ping that waits for its answer
        """
        if payload in self.pings:
            raise ValueError(f"a ping with the payload {payload!r} waits for its pong already")
        self.protocol.send_ping(payload)
        ping = self.pings[payload] = Ping()
        if keepalive:
            self._keepalive_ping = ping
        self._leaving.append(ping)
        self.flush_protocol()
        return ping

    def commit_frame(self, frame: Frame) -> None:
        """Take a frame over for sending as it is, behind everything that was committed.

        :raises ValueError: its opcode doesn't have four bits
        """
        self._queue_output()
        self.protocol.send_frame(frame)
        for data in self.protocol.data_to_send():
            self.outbox.add_in_order(data)
        self.pump()

    def flush_protocol(self) -> None:
        """Send what the protocol wants sent."""
        self._queue_output()
        self.pump()

    @property
    def has_output(self) -> bool:
        """Whether there is something that the transport wasn't given."""
        return bool(self._held_frames or self.outbox.count)

    def _queue_output(self) -> None:
        writes = self.protocol.data_to_send()
        if len(writes) == self._held_frames and self._held <= JOINED:
            writes = [b"".join(writes)] if writes else []
        for data in writes:
            self.outbox.add(data)
        self._held = self._held_frames = 0

    def pump(self) -> None:
        """Give the transport what it can take."""
        transport = self.transport
        while self.outbox.count and not transport.unsent:
            data, is_ping = self.outbox.next()
            if data == SEND_EOF:
                transport.write_eof()
                continue
            if is_ping:
                self._ping_leaves(self._leaving.pop(0), len(data))
            transport.write(data)
        self._output_moved()

    def _ping_leaves(self, ping: Ping, size: int) -> None:
        ping.started = perf_counter()
        if ping is self._keepalive_ping:
            self._mark = self.transport.sent_total + self.transport.unsent + size

    def _output_moved(self) -> None:
        """Tell the keepalive what it wants to know of output."""
        keepalive, transport = self._keepalive, self.transport
        if keepalive is None:
            return
        if not transport.unsent:
            keepalive.output_left()
        elif keepalive.output_waits(transport.clock(), transport.sent_total):
            self._set_alarm()
        if self._mark is not None and transport.sent_total >= self._mark:
            self._mark = None
            keepalive.ping_left(transport.clock())
            self._set_alarm()

    @property
    def buffered_amount(self) -> int:
        """Bytes that were committed, or are in the backlog, and haven't left."""
        return self.committed + (0 if self.backlog is None else self.backlog.bytes)

    @property
    def committed(self) -> int:
        """Bytes that were committed and haven't left."""
        return self._held + self.outbox.size + self.transport.unsent

    def check_open(self) -> None:
        """Do nothing as long as something can be sent.

        :raises ConnectionClosed: nothing can be sent any more
        :raises ProtocolError: the connection isn't open yet
        """
        if self.protocol.state is not State.OPEN or self.output_over:
            raise self._not_open()

    def _not_open(self) -> WebSocketError:
        return not_open_yet() if self.receiver is _HANDSHAKE else self.closed(Call.SEND)

    def has_room(self) -> bool:
        """Whether at most ``write_limit`` bytes wait to leave; raises as `check_open`."""
        self.check_open()
        return self.committed <= self.config.write_limit

    def has_room_for_ping(self) -> bool:
        """Whether no other Ping waits to leave; raises as `check_open`.

        Messages that wait don't matter: a Ping passes them.
        """
        self.check_open()
        return not self.outbox.has_ping

    def name_peer(self) -> None:
        """Tell the protocol what its records want to know. Not before there is one: most never log."""
        if self.protocol.remote_address is None:
            attributes = self.transport.extra_attributes
            address = attributes.get(SocketAttribute.remote_address, lambda: None)
            self.protocol.remote_address = address()

    def statistics(self) -> ConnectionStatistics:
        """What went over it until now."""
        return ConnectionStatistics(
            messages_received=self.inbox.received,
            messages_sent=self.messages_sent,
            bytes_received=self.transport.received_total,
            bytes_sent=self.transport.sent_total,
        )

    # Closing.

    def send_close(self, code: int, reason: str) -> None:
        """Send a Close frame if that is still possible; a message being sent in fragments is cut short.

        :raises ProtocolError: the code isn't valid
        :raises ValueError: the reason is too long
        """
        if self.backlog is not None and not self.sending_fragments:
            self.backlog.commit_all()
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason, cut_short=True)
            self._sent_end = True
            self._after_input()

    def start_closing(self, code: int, reason: str) -> None:
        """As `send_close`, and drop whatever comes from now on."""
        self.send_close(code, reason)
        self.closed_here = True
        self._drop_input()

    def _drop_input(self) -> None:
        self.inbox.clear()
        self.release_failure()
        if self.protocol.input_pending:
            self._decode(b"")
        self._after_input()
        self._resume()

    def break_off(self) -> None:
        """Fail the connection: a message that is being sent in fragments can't be completed."""
        if self.protocol.state is State.OPEN:
            self.protocol.fail(CloseCode.INTERNAL_ERROR, "message cut short")
        self._after_input()

    def closed(self, call: Call) -> ConnectionClosed:
        """What is known about the end, as the exception for *call*."""
        exc = self.protocol.closing_exc
        if isinstance(exc, ConnectionClosedOK):
            pass  # what became of the TCP connection after that is of no interest
        elif exc.__cause__ is None or isinstance(exc.__cause__, EOFError):
            exc.__cause__ = self.lost_cause or exc.__cause__
        here = self.closed_here or (call is Call.SEND and self._sent_end)
        return closed_error(exc, call, closed_here=here)

    # Keepalive and lifetime.

    def begin_lifetime(self) -> None:
        """Bound it by ``max_lifetime`` and ``idle_timeout``, from now on."""
        config = self.config
        if config.max_lifetime is None and config.idle_timeout is None:
            return
        self._lifetime = Lifetime(config, self.transport.clock(), self._traffic())
        if self._keepalive is None:
            self._lifetime.closing()
        self._set_alarm()

    def end_within(self, timeout: float | None) -> None:
        """Abort the connection, which is being closed, unless it ends in *timeout* seconds."""
        now = self.transport.clock()
        if self._lifetime is None:
            self._lifetime = Lifetime(self.config, now, self._traffic())
        self._lifetime.end_by(math.inf if timeout is None else now + timeout)
        self._set_alarm()

    def _set_alarm(self) -> None:
        policies = (self._keepalive, self._lifetime)
        times = [one.alarm for one in policies if one is not None]
        self.transport.set_alarm(min((one for one in times if one is not None), default=None))

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive = None
            if self._lifetime is not None:
                self._lifetime.closing()
            self._set_alarm()

    def _ask_keepalive(self, keepalive: Keepalive) -> None:
        transport = self.transport
        due = keepalive.due(transport.clock(), transport.received_total, transport.sent_total)
        if due is Due.PING:
            payload = secrets.token_bytes(4)
            if payload not in self.pings:
                self.commit_unawaited_ping(payload, keepalive=True)
        elif due is Due.PEER_IS_SILENT:
            self._give_up(
                f"no answer to a ping within {self.config.ping_timeout:g} seconds",
                "keepalive ping timeout",
            )
        elif due is Due.OUTPUT_IS_STUCK:
            self._give_up(
                f"nothing could be sent for {self.config.write_timeout:g} seconds", "write timeout"
            )

    def _ask_lifetime(self, lifetime: Lifetime) -> None:
        now = self.transport.clock()
        over = lifetime.over(now, self._traffic())
        if over is None:
            return
        if self._keepalive is None:  # it has been closing, and had its time for that
            self._lifetime = None
            self.lost_cause = self.lost_cause or TimeoutError("it didn't end in time")
            self.transport.abort()
            return
        self.end_within(self.config.close_timeout)
        self.name_peer()
        protocol = self.protocol
        protocol.log(logging.INFO, "closing, %s, peer %s", over.value, protocol.remote_address)
        self.send_close(CloseCode.GOING_AWAY, over.value)

    def _traffic(self) -> Traffic:
        transport = self.transport
        return Traffic(
            messages=self.inbox.received + self.messages_sent,
            received=transport.received_total,
            sent=transport.sent_total,
            waiting=self.inbox.count > 0,
            arriving=self.protocol.mid_message,
            leaving=self.sending_fragments or self.buffered_amount > A_PING,
        )

    def _give_up(self, why: str, reason: str) -> None:
        """Fail the connection and don't wait for a peer that doesn't answer."""
        protocol = self.protocol
        self.name_peer()
        protocol.log(
            logging.WARNING, "connection failed, %s, peer %s", why, protocol.remote_address
        )
        self.lost_cause = TimeoutError(why)
        self.given_up = True
        protocol.fail(CloseCode.INTERNAL_ERROR, reason)
        self._after_input()
        self.transport.abort()

    # Inside.

    def _decode(self, chunk: bytes | memoryview) -> None:
        """Take in *chunk*, or what is pending, as far as there is room."""
        protocol = self.protocol
        while True:
            protocol.budget = max(1, self.config.read_limit - self.inbox.size + 1)
            protocol.max_events = max(1, self.config.max_queue - self.inbox.count + 1)
            protocol.receive_data(chunk)
            chunk = b""
            self._collect()
            if not protocol.input_pending or self._full:
                break
        self._after_input()

    def _collect(self) -> None:
        inbox = self.inbox
        for event in self.protocol.events_received():
            if not isinstance(event, Frame):
                self._handshake = event
        messages = self.protocol.messages_received()
        dropping = self.closed_here or self.discarding
        if not dropping and _WHOLE.issuperset(map(type, messages)):
            inbox.add_all(cast("list[str | bytes]", messages))
            return
        for message in messages:
            if isinstance(message, Frame):
                if message.opcode is Opcode.PONG:
                    self._pong_received(message.data)
                if self.recording and message.opcode is not Opcode.CLOSE and not self.closed_here:
                    inbox.add_control(message, between_fragments=self.between_fragments)
            elif dropping:
                if isinstance(message, Fragment):
                    inbox.skip_fragment(message)
                else:
                    inbox.received += 1
            elif isinstance(message, Fragment):
                inbox.add_fragment(message)
            else:
                inbox.add(message)

    def _after_input(self) -> None:
        protocol = self.protocol
        self.flush_protocol()
        if protocol.failure_held and not self.inbox.count:
            protocol.release_failure()
            self.flush_protocol()
        self._pause_or_resume()
        if protocol.state is not State.OPEN or self.output_over:
            self.express = False
            if self.backlog is not None:
                self.backlog.clear()
            self._stop_keepalive()
            self.progress.set()
            self.turnstile.wake()
            for ping in self.pings.values():
                ping.answered.set()
        self._tell_receiver()

    def _tell_receiver(self) -> None:
        self.changed.set()
        if self.reading is not None:
            self.reading.interrupt()
        if self.notify is not None:
            self.notify()

    def _pause_or_resume(self) -> None:
        protocol = self.protocol
        if protocol.input_over:
            # Nothing that arrives is kept any more; only the end of the stream matters.
            if self._paused:
                self._paused = False
                self._resume_transport()
        elif not self._paused and (
            self._full
            or protocol.input_pending
            or protocol.failure_held
            or self._handshake is not None
        ):
            self._paused = True
            self.transport.pause_reading()
            if self._keepalive is not None:
                self._keepalive.paused()
                self._set_alarm()

    def _resume_transport(self) -> None:
        if self._keepalive is not None:
            self._keepalive.resumed(self.transport.clock())
            self._set_alarm()
        self.transport.resume_reading()

    @property
    def _full(self) -> bool:
        config, inbox = self.config, self.inbox
        return inbox.count > config.max_queue or inbox.size > config.read_limit

    def _resume(self) -> None:
        """Go on with input that was held back, once the inbox is down to half."""
        config, inbox = self.config, self.inbox
        if not self._paused or self._handshake is not None:
            return
        if inbox.count > config.max_queue // 2 or inbox.size > config.read_limit // 2:
            return
        self._paused = False
        if self.protocol.input_pending:
            self._decode(b"")
        if self.protocol.failure_held:
            self._paused = True  # nothing that could be read matters any more
        if not self._paused:
            self._resume_transport()

    def _may_send(self) -> bool:
        """Whether a message may be committed now: `has_room`, and no other message is in fragments."""
        if self.protocol.state is not _OPEN or self.output_over:
            raise self._not_open()
        if self.sending_fragments:
            return False
        buffered = self._held + self.outbox.size + self.transport.unsent
        return buffered <= self.config.write_limit

    def _pong_received(self, data: bytes) -> None:
        """A Pong answers the Ping with its payload, and those before it (RFC 6455, section 5.5.3)."""
        if data not in self.pings:
            return  # unsolicited
        now = perf_counter()
        for payload in list(self.pings):
            ping = self.pings.pop(payload)
            if payload == self._unawaited:
                self._unawaited = None
            if ping is self._keepalive_ping:
                self._keepalive_answered()
            ping.latency = now - ping.started
            ping.answered.set()
            if payload == data:
                self.latency = ping.latency
                break

    def _keepalive_answered(self) -> None:
        """Its ping has left, then: a stream may be read again before who writes to it is told so."""
        self._keepalive_ping = None
        if self._mark is not None and self._keepalive is not None:
            self._mark = None
            now = self.transport.clock()
            self._keepalive.ping_left(now)
            self._keepalive.heard(now)
            self._set_alarm()
