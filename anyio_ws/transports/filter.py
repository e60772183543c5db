"""What transports over another transport have in common: TLS, and a tunnel through a proxy.

Such a filter is a `Transport` to the sink above, and a `Sink` to the transport below. It has no task of its
own, and awaits nothing: it begins with `start`, in plain calls.
"""

from __future__ import annotations

from .base import Reader, Sink, Transport

__all__ = ["Filter"]


class Filter:
    """The part of `anyio_ws.transports.base.Transport` that passes through a filter as it is."""

    def __init__(self, below: Transport) -> None:
        self._below = below
        self._sink: Sink | None = None
        self._waiting = False  # the sink waits to be told that something has left
        self._aborted = False
        self._failure: Exception | None = None

    @property
    def has_to_run(self) -> bool:
        return self._below.has_to_run

    @property
    def reader(self) -> Reader | None:
        return self._below.reader

    @property
    def sent_total(self) -> int:
        return self._below.sent_total

    @property
    def received_total(self) -> int:
        return self._below.received_total

    def call_writable(self) -> None:
        self._waiting = True
        self._below.call_writable()

    def clock(self) -> float:
        return self._below.clock()

    def set_alarm(self, when: float | None) -> None:
        self._below.set_alarm(when)

    async def run(self) -> None:
        await self._below.run()

    def alarm(self) -> None:
        if self._sink is not None and not self._ended:
            self._sink.alarm()

    @property
    def _ended(self) -> bool:
        return self._aborted or self._failure is not None
