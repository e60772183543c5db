"""Topics: what is published on a `Channel` is sent to everybody who has subscribed to it.

A channel knows who subscribes in this process, and broadcasts to them. How a message comes from who
publishes it to the channels of its topic is the business of a `Broker`: in memory by default, or over a
network, so that several processes share their topics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias, get_args

import anyio
from anyio.lowlevel import checkpoint

from .backlog import MAX_BUFFERED, Overflow
from .broadcast import BroadcastResult, broadcast
from .websocket import BytesLike, PreparedMessage, WebSocket

__all__ = ["Broker", "Channel", "ChannelStatistics", "Deliver", "MemoryBroker"]

Deliver: TypeAlias = Callable[[str | bytes, str | None], None]
"""What a `Broker` calls with a message and its key: a plain function, which neither waits nor raises."""


class Broker(ABC):
    """Takes messages from those who publish them to those who subscribed to their topic.

    To connect several processes, write one over whatever connects them. What it has to run, in tasks, it
    runs where it was opened (``async with MyBroker(...) as broker``): its methods are called from the tasks
    of whoever publishes and subscribes, which come and go. Users of `Channel` see no difference.
    """

    @abstractmethod
    async def publish(self, topic: str, message: str | bytes, key: str | None) -> None:
        """Have *message* delivered to all who have subscribed to *topic*, here or elsewhere.

        Messages of one publisher on one topic are delivered in order. Cancelling it: the message was
        published or not, never a part of it.
        """

    @abstractmethod
    async def subscribe(self, topic: str, deliver: Deliver) -> None:
        """Call *deliver* for each message on *topic*, once this has returned, until `unsubscribe`.

        One that keeps messages calls it before that with those that newcomers are to see. It is called in the
        thread of the event loop. Cancelled, or when it raises, nothing is subscribed.
        """

    @abstractmethod
    def unsubscribe(self, topic: str, deliver: Deliver) -> None:
        """Call *deliver* no more. What has to be waited for is done later, by a task of the broker's own."""


class MemoryBroker(Broker):
    """For channels in one process: all that share one of these, and a topic, share their messages."""

    def __init__(self) -> None:
        self._subscribed: dict[str, list[Deliver]] = {}

    async def publish(self, topic: str, message: str | bytes, key: str | None) -> None:
        """Deliver it at once. Cancelled, it isn't published."""
        await checkpoint()
        for deliver in tuple(self._subscribed.get(topic, ())):
            deliver(message, key)

    async def subscribe(self, topic: str, deliver: Deliver) -> None:
        """Deliver what is published from now on."""
        await checkpoint()
        self._subscribed.setdefault(topic, []).append(deliver)

    def unsubscribe(self, topic: str, deliver: Deliver) -> None:
        """Deliver nothing more."""
        subscribed = self._subscribed[topic]
        subscribed.remove(deliver)
        if not subscribed:
            del self._subscribed[topic]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """What a channel has done until now; see `Channel.statistics`. All but `subscribers` are totals."""

    subscribers: int
    """Connections that are subscribed now."""
    messages: int
    """Those that were published, as far as the channel listened; see `Channel`."""
    sent: int
    """Deliveries: messages that a subscriber was sent, or that wait for its turn."""
    dropped: int
    """Times that a subscriber with ``"drop"`` or ``"drop_oldest"`` missed messages."""
    disconnected: int
    """Subscribers that were disconnected because they were too slow."""


@dataclass(frozen=True, slots=True)
class _Policy:
    overflow: Overflow
    max_buffered: int


class Channel:
    """A topic that connections subscribe to: ``async with channel.subscribe(ws)``.

    A connection may subscribe to several channels, to each with a policy of its own. Make channels wherever
    you like, in advance or when somebody first wants one; nothing has to be closed.

    A channel listens to its broker while somebody is subscribed. One that keeps messages does so from
    its first use on, until `close`.

    :param topic: what the broker knows it by; channels with a broker and a topic in common have their
        messages in common
    :param broker: a `MemoryBroker` of its own by default
    :param keep_last: how many messages to keep for newcomers; with keys, of each key only the newest counts
    :param compress: whether to compress messages where compression was negotiated; see `WebSocket.send`
    :raises ValueError: *keep_last* is negative
    """

    def __init__(
        self,
        topic: str = "",
        *,
        broker: Broker | None = None,
        keep_last: int = 0,
        compress: bool = True,
    ) -> None:
        if keep_last < 0:
            raise ValueError(f"keep_last can't be {keep_last}")
        self.topic = topic
        self._broker = broker or MemoryBroker()
        self._compress = compress
        self._listens = False
        self._lock: anyio.Lock | None = None  # while somebody begins to listen
        # Connections with equal policies are sent a message in one go.
        self._subscribers: dict[_Policy, dict[WebSocket, None]] = {}
        self._keep = keep_last
        self._kept: deque[tuple[PreparedMessage, str | None]] = deque(maxlen=keep_last)
        self._messages = self._sent = self._dropped = self._disconnected = 0

    def __repr__(self) -> str:
        return f"<Channel {self.topic!r} subscribers={self._count}>"

    async def publish(self, message: str | BytesLike, *, key: str | None = None) -> None:
        """Send *message* to all subscribers, by way of the broker; waits for none of them.

        It is a checkpoint, and with a `MemoryBroker` nothing more. Cancelled there, nothing was published.

        :param message: `str` as text, bytes-like as binary
        :param key: what messages are told apart by: for those who subscribe with ``"coalesce"``, and for
            what is kept for newcomers
        :raises TypeError: *message* is neither `str` nor bytes-like
        """
        if not isinstance(message, str | bytes):
            message = PreparedMessage(message).data
        if self._keep:
            await self._listen()
        await self._broker.publish(self.topic, message, key)

    def subscribe(
        self,
        ws: WebSocket,
        *,
        overflow: Overflow = "disconnect",
        max_buffered: int = MAX_BUFFERED,
        replay: bool = True,
    ) -> AbstractAsyncContextManager[None]:
        """Have *ws* sent what is published, for the length of a block: ``async with channel.subscribe(ws):``.

        On entering it is sent the messages that are kept, and then every one that is published, without a
        gap. Leaving ends that; messages that wait for their turn are still sent. It neither closes the
        connection nor notices its end: receive in the block, or wait for that, as a handler would anyway.

        :param overflow: what happens if the client doesn't take its messages as fast as they come: see
            `broadcast`
        :param max_buffered: bytes that may wait to leave on this connection: see `broadcast`
        :param replay: whether it is sent what is kept for newcomers
        :raises ValueError: *overflow* is something else; or, on entering, it is subscribed already
        """
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow must be one of {get_args(Overflow)}, not {overflow!r}")
        return _Subscription(self, ws, _Policy(overflow, max_buffered), replay)

    def statistics(self) -> ChannelStatistics:
        """What it has done until now."""
        return ChannelStatistics(
            subscribers=self._count,
            messages=self._messages,
            sent=self._sent,
            dropped=self._dropped,
            disconnected=self._disconnected,
        )

    def close(self) -> None:
        """Forget what is kept, and listen no more unless somebody is subscribed.

        Only a channel that keeps messages needs it, and only if its broker outlives it.
        """
        self._kept.clear()
        self._stop_listening()

    async def add_subscriber(self, ws: WebSocket, policy: _Policy, replay: bool) -> None:
        """Not for users: `subscribe`."""
        await self._listen()
        if any(ws in group for group in self._subscribers.values()):
            raise ValueError(f"{ws!r} is subscribed to {self!r} already")
        self._subscribers.setdefault(policy, {})[ws] = None
        if replay:
            for message, key in self._kept:
                self._send((ws,), message, key, policy)

    def remove_subscriber(self, ws: WebSocket, policy: _Policy) -> None:
        """Not for users: the end of `subscribe`."""
        group = self._subscribers[policy]
        del group[ws]
        if not group:
            del self._subscribers[policy]
        if not self._keep:
            self._stop_listening()

    @property
    def _count(self) -> int:
        return sum(map(len, self._subscribers.values()))

    async def _listen(self) -> None:
        """Have the broker deliver, if it doesn't yet."""
        if self._listens:
            return
        # Made when it is needed: a channel may be used by one event loop after another.
        lock = self._lock = self._lock or anyio.Lock()
        try:
            async with lock:
                if not self._listens:
                    await self._broker.subscribe(self.topic, self._deliver)
                    self._listens = True
        finally:
            if not lock.statistics().locked:  # nobody waits for it
                self._lock = None

    def _stop_listening(self) -> None:
        if self._listens and not self._subscribers:
            self._listens = False
            self._broker.unsubscribe(self.topic, self._deliver)

    def _deliver(self, data: str | bytes, key: str | None) -> None:
        message = PreparedMessage(data, compress=self._compress)
        self._messages += 1
        if self._keep:
            self._remember(message, key)
        for policy, group in self._subscribers.items():
            self._send(group, message, key, policy)

    def _remember(self, message: PreparedMessage, key: str | None) -> None:
        if key is not None:
            for older in self._kept:
                if older[1] == key:
                    self._kept.remove(older)
                    break
        self._kept.append((message, key))

    def _send(
        self,
        connections: Iterable[WebSocket],
        message: PreparedMessage,
        key: str | None,
        policy: _Policy,
    ) -> None:
        result: BroadcastResult = broadcast(
            connections,
            message,
            overflow=policy.overflow,
            max_buffered=policy.max_buffered,
            # Another channel may have the same keys for the same connection.
            key=None if key is None else (self, key),
        )
        self._sent += result.sent + len(result.queued)
        self._dropped += len(result.dropped)
        self._disconnected += len(result.disconnected)


class _Subscription:
    def __init__(self, channel: Channel, ws: WebSocket, policy: _Policy, replay: bool) -> None:
        self._channel = channel
        self._ws = ws
        self._policy = policy
        self._replay = replay

    async def __aenter__(self) -> None:
        await self._channel.add_subscriber(self._ws, self._policy, self._replay)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.remove_subscriber(self._ws, self._policy)
