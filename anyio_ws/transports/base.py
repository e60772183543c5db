"""The contract between what moves bytes and what understands them.

A `Transport` is driven by plain calls and answers by plain calls to its `Sink`; everything that waits
is done above it. That is why reading never has to wait for writing, and why no exception crosses the
line: what goes wrong arrives as the cause of `Sink.output_lost` and `Sink.connection_lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["Reader", "Sink", "Transport", "TypedAttributes", "text_of"]

TypedAttributes = Mapping[Any, Callable[[], Any]]
"""What AnyIO's typed attribute providers answer with."""


def text_of(cause: BaseException) -> str:
    """What *cause* says, for a log; AnyIO's stream errors leave that to their own cause."""
    return str(cause) or (repr(cause) if cause.__cause__ is None else text_of(cause.__cause__))


class Sink(Protocol):
    """Takes what a transport has to tell. Its methods never wait and never raise.

    While reading is paused only `writable`, `output_lost` and `alarm` are called: what the peer sent before
    a connection broke is still read when reading goes on. Where nothing will be read any more, because of
    `Transport.abort`, `eof_received`, or a `Transport.write_eof` that closes, so is `connection_lost`.
    """

    def data_received(self, chunk: bytes | memoryview) -> None:
        """Bytes arrived. May call `Transport.pause_reading`.

        A view is of a buffer that is used again as soon as this returns.
        """
        ...

    def eof_received(self) -> None:
        """The peer sends nothing more; what is written still leaves."""
        ...

    def writable(self) -> None:
        """Everything that was left unsent by a `Transport.write` has left: it can take more."""
        ...

    def output_lost(self, cause: Exception) -> None:
        """Nothing that is written leaves any more, but something may still be read.

        Called once at most. `connection_lost` follows, after the last `data_received`.
        """
        ...

    def alarm(self) -> None:
        """The time that was set with `Transport.set_alarm` has come.

        Unless reading is paused, one more look at what is below has found nothing to read; or what it found
        was handed over.
        """
        ...

    def connection_lost(self, cause: Exception | None) -> None:
        """The connection is over, in both directions. Called exactly once, and last.

        *cause* is None after both directions ended in order, and after `Transport.abort`.
        """
        ...


class Reader(Protocol):
    """Reading in a task that waits for what arrives anyway, in place of the one in `Transport.run`.

    It spares the way through a second task for every message.
    """

    @property
    def ready(self) -> bool:
        """Whether `read` can be called: not while reading is paused, or isn't done at all."""
        ...

    async def read(self) -> None:
        """Wait until something arrives and hand it to the sink, in this task; or until `interrupt`.

        From then on nobody reads for some milliseconds unless it is called again. Cancelling loses nothing.
        """
        ...

    def interrupt(self) -> None:
        """Let the task that waits in `read` return; does nothing if there is none."""
        ...

    def give_back(self) -> None:
        """Let `Transport.run` read at once, unless a task waits in `read`."""
        ...


class Transport(Protocol):
    """A connection that takes and gives bytes, for one `Sink`.

    No call of the sink comes from within `start`, `write`, `write_eof`, `pause_reading`, `set_alarm` or
    `abort`; `resume_reading` may hand over what was held back.
    """

    @property
    def has_to_run(self) -> bool:
        """Whether there is something to do for a task, which is to call `run`."""
        ...

    @property
    def reader(self) -> Reader | None:
        """For those who want to read themselves; None where there is nothing to be gained."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel, or the stream below, hasn't taken."""
        ...

    @property
    def sent_total(self) -> int:
        """Bytes that it has ever taken; TLS counts what it made of them."""
        ...

    @property
    def received_total(self) -> int:
        """Bytes that have ever arrived from below; a part of a TLS record counts."""
        ...

    @property
    def extra_attributes(self) -> TypedAttributes:
        """The typed attributes of what is below: socket, addresses, TLS."""
        ...

    def start(self, sink: Sink) -> None:
        """Name the sink, before anything else is called. What has nothing to run begins to read."""
        ...

    def pause_reading(self) -> None:
        """Call `Sink.data_received` and `Sink.eof_received` no more, until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Go on reading; does nothing when it isn't paused."""
        ...

    def write(self, data: bytes, more: bytes = b"") -> None:
        """Take *data*, all of it. Keep `unsent` small: as long as it isn't, wait for `Sink.writable`.

        What the kernel takes at once has left when this returns.

        :param more: what follows *data*, which spares joining the two
        """
        ...

    def call_writable(self) -> None:
        """Call `Sink.writable` once the tasks that are ready to run now have run, or when it is due."""
        ...

    def write_eof(self) -> None:
        """Half-close once everything written has left; where that isn't possible, close."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """Tells the time in seconds that `set_alarm` goes by: AnyIO's, of this event loop."""
        ...

    def set_alarm(self, when: float | None) -> None:
        """Call `Sink.alarm` once at that time, or never; this replaces what was set before."""
        ...

    def abort(self) -> None:
        """End the connection now; what hasn't left is dropped. `Sink.connection_lost` follows."""
        ...

    async def run(self) -> None:
        """Do what must be done by a task; returns when the connection is over.

        Cancelling it aborts the connection.
        """
        ...
