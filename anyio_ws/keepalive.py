"""When to ping, and when to give up: a policy that is told what happens, and does nothing itself.

* After ``ping_interval`` seconds in which not a byte arrived, a Ping is due.
* The peer has ``ping_timeout`` seconds to send anything at all, from when that Ping has left: what waits
  in our own buffers says nothing about the peer.
* The clock stands still while reading is paused, because the application hasn't taken what arrived, and
  starts anew after that: what the peer has sent meanwhile is still on its way to us.
* As long as the kernel takes nothing, silence can't be told from slowness. Then TCP's own limit decides,
  or ``write_timeout``.

Times are those of the transport's clock, in seconds.
"""

from __future__ import annotations

import enum

from .options import CommonConfig

__all__ = ["Due", "Keepalive"]


class Due(enum.Enum):
    """What is to be done now."""

    NOTHING = enum.auto()
    PING = enum.auto()
    PEER_IS_SILENT = enum.auto()
    OUTPUT_IS_STUCK = enum.auto()


class _Phase(enum.Enum):
    LISTENING = enum.auto()
    LEAVING = enum.auto()
    """A Ping is on its way out."""
    WAITING = enum.auto()
    """A Ping has left."""


class Keepalive:
    """The policy for one connection."""

    __slots__ = (
        "_answered",
        "_deadline",
        "_fresh",
        "_heard",
        "_interval",
        "_look",
        "_paused",
        "_phase",
        "_progress",
        "_received",
        "_sent",
        "_timeout",
        "_write_timeout",
    )

    def __init__(self, config: CommonConfig, now: float, received: int) -> None:
        """The connection was opened *now*, after *received* bytes."""
        self._interval = config.ping_interval
        self._timeout = config.ping_timeout
        self._write_timeout = config.write_timeout
        self._phase = _Phase.LISTENING
        self._heard = now
        self._answered = True
        self._fresh = False  # heard since the last time that we were asked
        self._received = received
        self._deadline = now
        self._look = now
        self._paused = False
        self._sent = 0
        self._progress: float | None = None  # when output began to wait, or went on

    @property
    def alarm(self) -> float | None:
        """When `due` should be asked next, if nothing happens before."""
        times: list[float] = []
        if self._progress is not None and self._write_timeout is not None:
            times.append(self._progress + self._write_timeout)
        if self._interval is not None and not self._paused:
            if self._phase is _Phase.LISTENING:
                times.append(self._heard + self._interval)
            elif self._phase is _Phase.WAITING:
                times += [self._look, self._deadline]
        return min(times, default=None)

    def heard(self, now: float) -> None:
        """Bytes arrived."""
        self._heard = now
        self._answered = self._fresh = True

    def paused(self) -> None:
        """Reading was paused."""
        self._paused = True

    def resumed(self, now: float) -> None:
        """Reading goes on."""
        if self._paused:
            self._paused = False
            self._heard = now
            if self._phase is _Phase.WAITING:
                self._wait(now)

    def ping_left(self, now: float) -> None:
        """The Ping that was due is with the kernel."""
        if self._timeout is None:
            self._phase = _Phase.LISTENING
            self._heard = now
        else:
            self._phase = _Phase.WAITING
            self._answered = False
            self._wait(now)

    def output_waits(self, now: float, sent: int) -> bool:
        """The kernel has taken *sent* bytes so far, and there are more; whether that is news."""
        if self._write_timeout is None or self._progress is not None:
            return False
        self._progress = now
        self._sent = sent
        return True

    def output_left(self) -> None:
        """No output waits any more."""
        self._progress = None

    def due(self, now: float, received: int, sent: int) -> Due:
        """What is to be done, after *received* and *sent* bytes in all."""
        if self._progress is not None and self._write_timeout is not None:
            if sent != self._sent:
                self._sent = sent
                self._progress = now
            elif now >= self._progress + self._write_timeout:
                return Due.OUTPUT_IS_STUCK
        if self._interval is None or self._paused:
            return Due.NOTHING
        if received != self._received and not self._fresh:
            self.heard(now)  # a part of a TLS record, and nothing that could be read
        self._received = received
        self._fresh = False
        if self._phase is _Phase.WAITING:
            if self._answered:
                self._phase = _Phase.LISTENING
            elif now >= self._deadline:
                return Due.PEER_IS_SILENT
            elif now >= self._look:
                self._look = now + self._interval
        if self._phase is _Phase.LISTENING and now >= self._heard + self._interval:
            self._phase = _Phase.LEAVING
            return Due.PING
        return Due.NOTHING

    def _wait(self, now: float) -> None:
        assert self._interval is not None
        assert self._timeout is not None
        self._deadline = now + self._timeout
        # Nobody asks us when an answer arrives. Were we asked at the deadline only, the next Ping would be
        # due after ``ping_timeout``, where that is the longer one.
        self._look = now + self._interval
