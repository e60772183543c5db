"""Accepting connections: `anyio_ws.transports.listen.ListeningSocket.accept`."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from anyio_ws.transports.listen import BURST, PAUSE, ListeningSocket

from ..limits import no_descriptor_left
from .kinds import PATIENCE


class FailingSocket(socket.socket):
    """A listening socket that fails to accept, as often as it's told."""

    def __init__(self, *errors: int) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen(200)
        self.errors = list(errors)

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


class Server:
    """Accepts connections, and remembers them; clients are sockets that don't say anything."""

    def __init__(self, stack: ExitStack, *errors: int) -> None:
        self._stack = stack
        self._socket = FailingSocket(*errors)
        self._listener = ListeningSocket(self._socket)
        stack.callback(self._listener.close)
        self.accepted: list[socket.socket] = []
        self.exhausted: list[OSError] = []
        self._changed = anyio.Event()

    def connect(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(self._socket.getsockname()))

    async def accept(self) -> None:
        await self._listener.accept(self._serve, self._exhausted)

    async def until(self, accepted: int = 0, exhausted: int = 0) -> None:
        with anyio.fail_after(PATIENCE):
            while len(self.accepted) < accepted or len(self.exhausted) < exhausted:
                await self._changed.wait()

    def _serve(self, sock: socket.socket) -> None:
        self.accepted.append(self._stack.enter_context(sock))
        self._wake()

    def _exhausted(self, error: OSError) -> None:
        self.exhausted.append(error)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@contextmanager
def server(*errors: int) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack, *errors)


def names(connections: list[socket.socket]) -> list[object]:
    return [sock.getpeername() for sock in connections]


async def test_connections_are_accepted_in_the_order_in_which_they_came() -> None:
    with server() as here:
        clients = [here.connect() for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            await here.until(accepted=3)
            clients.append(here.connect())  # while it waits
            await here.until(accepted=4)
            tasks.cancel_scope.cancel()
        assert names(here.accepted) == [client.getsockname() for client in clients]
        assert here.exhausted == []


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
async def test_a_system_without_resources_is_given_a_pause_and_no_client_is_lost(
    error: str,
) -> None:
    number = getattr(errno, error)
    with server(number, number, number) as here:
        here.connect()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            await here.until(accepted=1)
            assert anyio.current_time() == pytest.approx(start + 3 * PAUSE)
            tasks.cancel_scope.cancel()
        assert [exc.errno for exc in here.exhausted] == [number] * 3


@pytest.mark.usefixtures("virtual_time")
async def test_an_error_that_nobody_foresaw_neither_ends_it_nor_keeps_it_busy() -> None:
    with server(errno.ENETDOWN, 9999) as here:
        here.connect()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            await here.until(accepted=1)
            assert anyio.current_time() == pytest.approx(start + 2 * PAUSE)
            tasks.cancel_scope.cancel()
        assert [exc.errno for exc in here.exhausted] == [errno.ENETDOWN, 9999]


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("error", ["ECONNABORTED", "ECONNRESET", "EPERM", "EPROTO", "ETIMEDOUT"])
async def test_a_client_that_gave_up_meanwhile_delays_nobody(error: str) -> None:
    with server(getattr(errno, error)) as here:
        here.connect()
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            await here.until(accepted=1)
            assert anyio.current_time() == start
            tasks.cancel_scope.cancel()
        assert here.exhausted == []


@pytest.mark.parametrize("error", ["EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"])
async def test_a_socket_that_does_not_listen_any_more_is_an_os_error(error: str) -> None:
    with server(getattr(errno, error)) as here:
        with anyio.fail_after(PATIENCE), pytest.raises(OSError, match=r".") as caught:
            await here.accept()
        assert caught.value.errno == getattr(errno, error)


async def test_a_socket_that_was_shut_down_is_an_os_error() -> None:
    with server() as here:
        here._socket.shutdown(socket.SHUT_RD)
        with anyio.fail_after(PATIENCE), pytest.raises(OSError, match="Invalid argument"):
            await here.accept()


async def test_it_goes_on_once_there_are_descriptors_again() -> None:
    with server() as here:
        clients = [here.connect() for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            with no_descriptor_left():
                tasks.start_soon(here.accept)
                await here.until(exhausted=2)
                assert here.accepted == []
            await here.until(accepted=3)
            tasks.cancel_scope.cancel()
        assert names(here.accepted) == [client.getsockname() for client in clients]
        assert {exc.errno for exc in here.exhausted} == {errno.EMFILE}


async def test_many_connections_at_once_let_other_tasks_have_their_turn() -> None:
    number = 3 * BURST + 1
    with server() as here:
        for _ in range(number):
            here.connect()
        seen = [0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            with anyio.fail_after(PATIENCE):
                while seen[-1] < number:
                    await anyio.lowlevel.checkpoint()
                    seen.append(len(here.accepted))
            tasks.cancel_scope.cancel()
    # On trio the turn of the one may come before and after two turns of the other.
    assert max(after - before for before, after in pairwise(seen)) <= 2 * BURST


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("errors", [(), (errno.EMFILE,)], ids=["waiting", "pausing"])
async def test_who_comes_after_it_was_cancelled_waits_for_the_next_to_accept(
    errors: tuple[int, ...],
) -> None:
    with server(*errors) as here:
        with anyio.move_on_after(PAUSE / 2) as scope:
            await here.accept()
        assert scope.cancelled_caught
        client = here.connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.accept)
            await here.until(accepted=1)
            tasks.cancel_scope.cancel()
        assert names(here.accepted) == [client.getsockname()]


async def test_what_was_accepted_is_handed_on_before_a_cancellation_takes_effect() -> None:
    with server() as here:
        for _ in range(BURST + 5):
            here.connect()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await here.accept()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(here.accept)
                await here.until(accepted=BURST + 5)
                scope.cancel()
    assert len(here.accepted) == BURST + 5
