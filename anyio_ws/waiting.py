"""How a task waits for a connection: the awaits that `Connection` itself never has.

Every one only ends when something may have changed: who waited looks again. Cancelling loses nothing.

`current_pace` and `new_signal` are for those who wait for several connections.
"""

from __future__ import annotations

from .connection import Connection
from .transports.backend import current_pace, new_signal
from .transports.scheduling import Signal

__all__ = ["current_pace", "new_signal", "pass_turnstile", "wait_for", "wait_for_input"]


async def wait_for_input(connection: Connection) -> None:
    """Wait until there is something to receive, or the state of the connection changed."""
    if connection.has_output:  # nothing that is sent together waits for others any more
        connection.flush_protocol()
    reader = connection.transport.reader
    if reader is not None and reader.ready and connection.notify is None:
        connection.reading = reader
        try:
            await reader.read()
        finally:
            connection.reading = None
    else:
        await connection.changed.wait()
    connection.others_had_their_turn()


async def pass_turnstile(connection: Connection) -> None:
    """Wait for room, in turn with the others who send."""
    connection.read_in_run()  # the peer may wait for us to read before it does
    await connection.turnstile.pass_through()
    connection.pace.rested()


async def wait_for(connection: Connection, signal: Signal) -> None:
    """Wait for what may depend on reading, and doesn't receive."""
    connection.read_in_run()
    await signal.wait()
