"""The contract between what moves bytes and what understands them.

A `Transport` is driven by plain calls and answers by plain calls to its `Sink`; everything that waits
is done above it. That is why reading never has to wait for writing, and why no exception crosses the
line: what goes wrong arrives as the cause of `Sink.connection_lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["Sink", "Transport", "TypedAttributes"]

TypedAttributes = Mapping[Any, Callable[[], Any]]
"""What AnyIO's typed attribute providers answer with."""


class Sink(Protocol):
    """Takes what a transport has to tell. Its methods never wait and never raise."""

    def data_received(self, chunk: bytes) -> None:
        """Bytes arrived. May call `Transport.pause_reading`."""
        ...

    def eof_received(self) -> None:
        """The peer sends nothing more; what is written still leaves."""
        ...

    def writable(self) -> None:
        """What the transport holds fell to its low-water mark: it can take more."""
        ...

    def connection_lost(self, cause: Exception | None) -> None:
        """The connection is over, in both directions. Called exactly once, and last.

        *cause* is None after both directions ended in order, and after `Transport.abort`.
        """
        ...


class Transport(Protocol):
    """A connection that takes and gives bytes, for one `Sink`."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel, or the stream below, hasn't taken."""
        ...

    @property
    def sent_total(self) -> int:
        """Bytes that it has ever taken."""
        ...

    @property
    def extra_attributes(self) -> TypedAttributes:
        """The typed attributes of what is below: socket, addresses, TLS."""
        ...

    def start(self, sink: Sink) -> None:
        """Name the sink, before anything else is called."""
        ...

    def pause_reading(self) -> None:
        """Call `Sink.data_received` no more, until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Go on reading; does nothing when it isn't paused."""
        ...

    def write(self, data: bytes) -> None:
        """Take *data*, all of it. Keep `unsent` small: call it when `Sink.writable` was called."""
        ...

    def write_eof(self) -> None:
        """Half-close once everything written has left; where that isn't possible, close."""
        ...

    def abort(self) -> None:
        """End the connection now; what hasn't left is dropped."""
        ...

    async def run(self) -> None:
        """Do what must be done by a task; returns when the connection is over.

        Cancelling it aborts the connection.
        """
        ...
