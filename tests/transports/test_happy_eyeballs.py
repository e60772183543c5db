"""A name with several addresses: which are tried, when, and what becomes of the others (RFC 8305).

The resolver is the test's; the sockets are the kernel's. An address *hangs* when as many wait there
already as the listening socket lets: a further attempt gets no answer, neither yes nor no.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import anyio
import pytest
from anyio.abc import SocketAttribute

from anyio_ws.testing import cancel_sweep
from anyio_ws.transports import dial as dial_module
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial

from .kinds import PATIENCE
from .sinks import end

needs_a_clock = pytest.mark.usefixtures("virtual_time")

NAME = "several.example"

Address: TypeAlias = tuple[str, int]


class Network:
    """Addresses of this machine that behave differently, a name for them, and what was tried."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self._monkeypatch = monkeypatch
        self.tried: list[Address] = []
        self.times: list[float] = []

    def accepts(self, host: str = "127.0.0.1") -> Address:
        return self._bound(host, backlog=100)

    def refuses(self, host: str = "127.0.0.1") -> Address:
        return self._bound(host, backlog=None)

    def hangs(self, host: str = "127.0.0.1") -> Address:
        address = self._bound(host, backlog=0)
        self._stack.enter_context(socket.socket(_family(host))).connect(address)
        return address

    def _bound(self, host: str, backlog: int | None) -> Address:
        sock = self._stack.enter_context(socket.socket(_family(host)))
        sock.bind((host, 0))
        if backlog is not None:
            sock.listen(backlog)
        name, port, *_ = sock.getsockname()
        return name, port

    def resolve(self, *addresses: Address) -> None:
        """Let `NAME` have these addresses, and note from now on which are tried, and when."""
        connect = socket.socket.connect

        async def look_up(host: str, port: int, **options: object) -> list[tuple[Any, ...]]:
            assert (host, port) == (NAME, 80)
            kind = socket.SOCK_STREAM
            return [(_family(address[0]), kind, 0, "", address) for address in addresses]

        def noting(sock: socket.socket, address: Any) -> None:
            self.tried.append(address)
            self.times.append(anyio.current_time())
            connect(sock, address)

        self._monkeypatch.setattr(anyio, "getaddrinfo", look_up)
        self._monkeypatch.setattr(socket.socket, "connect", noting)


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(stack, monkeypatch)


async def dial_name() -> Transport:
    with anyio.fail_after(PATIENCE):
        return await dial(NAME, 80)


def remote_address(transport: Transport) -> Any:
    return transport.extra_attributes[SocketAttribute.remote_address]()


# -- order


@pytest.mark.parametrize("first", ["127.0.0.1", "::1"])
async def test_the_families_take_turns_beginning_with_the_first(
    first: str, network: Network
) -> None:
    other = "::1" if first == "127.0.0.1" else "127.0.0.1"
    a1, a2, a3 = (network.refuses(first) for _ in range(3))
    b1, b2 = (network.refuses(other) for _ in range(2))
    network.resolve(a1, a2, a3, b1, b2)
    with pytest.raises(OSError, match="no address"):
        await dial_name()
    assert network.tried == [a1, b1, a2, b2, a3]


async def test_an_only_address_is_all_that_is_tried(network: Network) -> None:
    only = network.accepts()
    network.resolve(only)
    transport = await dial_name()
    assert remote_address(transport) == only
    assert network.tried == [only]
    await end(transport)


async def test_what_comes_after_an_address_that_answers_is_not_tried(network: Network) -> None:
    first = network.accepts()
    network.resolve(first, network.accepts(), network.hangs())
    transport = await dial_name()
    assert remote_address(transport) == first
    assert network.tried == [first]
    await end(transport)


# -- time


@needs_a_clock
async def test_the_next_address_is_tried_at_once_when_one_refuses(network: Network) -> None:
    last = network.accepts()
    network.resolve(network.refuses(), network.refuses(), last)
    start = anyio.current_time()
    transport = await dial_name()
    assert remote_address(transport) == last
    assert network.times == [start] * 3
    await end(transport)


@needs_a_clock
async def test_an_address_that_hangs_delays_the_next_by_250_ms(network: Network) -> None:
    last = network.accepts()
    network.resolve(network.hangs(), network.hangs(), last)
    start = anyio.current_time()
    transport = await dial_name()
    assert remote_address(transport) == last
    assert network.times == pytest.approx([start, start + 0.25, start + 0.5])
    assert anyio.current_time() == pytest.approx(start + 0.5)
    await end(transport)


@needs_a_clock
async def test_a_refusal_is_followed_at_once_while_an_earlier_address_still_hangs(
    network: Network,
) -> None:
    last = network.accepts()
    network.resolve(network.hangs(), network.refuses(), last)
    start = anyio.current_time()
    transport = await dial_name()
    assert remote_address(transport) == last
    assert network.times == pytest.approx([start, start + 0.25, start + 0.25])
    await end(transport)


async def test_the_other_family_does_not_wait_for_the_rest_of_the_first(network: Network) -> None:
    other = network.accepts("::1")
    hanging = network.hangs()
    network.resolve(hanging, network.hangs(), network.hangs(), other)
    transport = await dial_name()
    assert network.tried == [hanging, other]
    assert remote_address(transport) == other
    await end(transport)


@needs_a_clock
async def test_an_attempt_goes_on_while_later_ones_fail(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = network.accepts()
    release = anyio.Event()
    connect = dial_module._connect

    async def connect_slowly(sock: socket.socket, address: Any) -> None:
        if address == slow:
            await release.wait()
        await connect(sock, address)

    network.resolve(slow, network.refuses(), network.refuses())
    monkeypatch.setattr(dial_module, "_connect", connect_slowly)

    async def let_it_succeed() -> None:
        await anyio.sleep(5)
        assert len(network.tried) == 2
        release.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_it_succeed)
        transport = await dial_name()
        assert remote_address(transport) == slow
        await end(transport)


async def test_two_that_succeed_at_once_are_one_connection(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = network.accepts(), network.accepts()
    release = anyio.Event()
    connected: list[socket.socket] = []
    connect = dial_module._connect

    async def connect_together(sock: socket.socket, address: Any) -> None:
        await connect(sock, address)
        connected.append(sock)
        if len(connected) == 2:
            release.set()
        await release.wait()

    network.resolve(one, other)
    monkeypatch.setattr(dial_module, "_connect", connect_together)
    transport = await dial_name()
    assert sorted(sock.fileno() >= 0 for sock in connected) == [False, True]
    assert remote_address(transport) in (one, other)
    await end(transport)


# -- failure


async def test_the_errors_of_all_addresses_are_told(network: Network) -> None:
    network.resolve(network.refuses(), ("255.255.255.255", 80), network.refuses("::1"))
    with pytest.raises(OSError, match="no address accepts the connection") as caught:
        await dial_name()
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    errors = [exc.errno for exc in group.exceptions if isinstance(exc, OSError)]
    assert errors == [errno.ECONNREFUSED, errno.ECONNREFUSED, errno.ENETUNREACH]


async def test_the_error_of_an_only_address_is_raised_as_it_is(network: Network) -> None:
    network.resolve(network.refuses())
    with pytest.raises(ConnectionRefusedError):
        await dial_name()


async def test_a_machine_without_descriptors_is_an_os_error(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    network.resolve(network.accepts(), network.accepts())
    with monkeypatch.context() as patches:
        patches.setattr(socket, "socket", fail)
        with pytest.raises(OSError, match="no address") as caught:
            await dial_name()
    assert "Too many open files" in repr(caught.value.__cause__)


@needs_a_clock
async def test_addresses_that_all_hang_take_as_long_as_the_caller_lets_them(
    network: Network,
) -> None:
    network.resolve(network.hangs(), network.hangs())
    start = anyio.current_time()
    with anyio.move_on_after(7) as scope:
        await dial_name()
    assert scope.cancelled_caught
    assert anyio.current_time() == pytest.approx(start + 7)


# -- cancelling


async def test_cancelled_wherever_it_waits_it_leaves_nothing_open(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.01)
    network.resolve(network.refuses(), network.hangs(), network.accepts())
    cancelled = 0
    for attempt in cancel_sweep():
        with anyio.fail_after(PATIENCE):
            transport = await attempt.run(dial(NAME, 80))
        cancelled += attempt.cancelled
        if transport is not None:
            await end(transport)
    assert cancelled > 3
