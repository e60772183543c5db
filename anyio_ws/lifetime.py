"""When a connection has lasted long enough: a policy, like the keepalive's, that does nothing itself.

* After ``max_lifetime`` seconds it is over.
* After ``idle_timeout`` seconds without a message, in either direction, it is over as well. Pings are none.
  Messages that wait to be received count as long as they do, for a slow consumer isn't idle; and so do the
  bytes of a message that is on its way, for a long one takes its time.

Idleness is looked at `LOOKS` times in a timeout, instead of at every message: those that come and go have
nothing to do with it. It is noticed late by the time between two looks, at most, and never early.

Times are those of the transport's clock, in seconds.
"""

from __future__ import annotations

import enum
import math
from typing import Final, NamedTuple

from .options import CommonConfig

__all__ = ["Lifetime", "Over", "Traffic"]

LOOKS: Final = 4


class Over(enum.Enum):
    """Why it is over; the value is what the peer is told."""

    LIFETIME = "maximum lifetime reached"
    IDLE = "idle timeout"


class Traffic(NamedTuple):
    """What has gone over the connection, and is going."""

    messages: int
    """Those received and those sent."""
    received: int
    """Bytes."""
    sent: int
    """Bytes."""
    waiting: bool
    """Whether there are messages to be received by the application."""
    arriving: bool
    """Whether a part of a message was received, and the rest wasn't."""
    leaving: bool
    """The same of what is sent."""

    def went_on_since(self, before: Traffic) -> bool:
        """Whether there was anything but pings."""
        return (
            self.messages != before.messages
            or (self.waiting or before.waiting)
            or (self.received != before.received and (self.arriving or before.arriving))
            or (self.sent != before.sent and (self.leaving or before.leaving))
        )


class Lifetime:
    """The policy for one connection."""

    __slots__ = ("_active", "_before", "_end", "_idle", "_look")

    def __init__(self, config: CommonConfig, now: float, traffic: Traffic) -> None:
        """The connection was opened *now*."""
        self._end = now + (math.inf if config.max_lifetime is None else config.max_lifetime)
        self._idle = math.inf if config.idle_timeout is None else config.idle_timeout
        self._active = now  # at the last look that found it so
        self._before = traffic
        self._look = now + self._idle / LOOKS

    @property
    def alarm(self) -> float | None:
        """When `over` should be asked next."""
        when = min(self._end, self._look)
        return None if when == math.inf else when

    def over(self, now: float, traffic: Traffic) -> Over | None:
        """Why it is over, if it is."""
        if now >= self._end:
            return Over.LIFETIME
        if now < self._look:
            return None
        if traffic.went_on_since(self._before):
            self._active = now
        elif now >= self._active + self._idle:
            return Over.IDLE
        self._before = traffic
        self._look = min(now + self._idle / LOOKS, self._active + self._idle)
        return None

    def closing(self) -> None:
        """The connection isn't open any more: whether it is idle doesn't matter."""
        self._idle = self._look = math.inf

    def end_by(self, when: float) -> None:
        """It is being closed, and over at that time whatever happens."""
        self.closing()
        self._end = when
