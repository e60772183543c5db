"""From a name, an address or a path to a transport: `anyio_ws.transports.dial`."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

from anyio_ws.testing import cancel_sweep
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial, dial_unix

from .kinds import PATIENCE
from .sinks import check_moves_bytes, end


@contextmanager
def listening(host: str = "127.0.0.1", *, backlog: int = 5) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=backlog) as listener:
        listener.setblocking(False)
        yield listener


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


@contextmanager
def nobody_listening() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and doesn't listen
        yield port_of(bound)


async def accept(listener: socket.socket) -> socket.socket:
    with anyio.fail_after(PATIENCE):
        await anyio.wait_readable(listener)
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    return accepted


def remote_address(transport: Transport) -> Any:
    return transport.extra_attributes[SocketAttribute.remote_address]()


# -- addresses


async def test_a_listening_port_is_reached() -> None:
    with listening() as listener:
        transport = await dial("127.0.0.1", port_of(listener))
        assert remote_address(transport) == ("127.0.0.1", port_of(listener))
        with await accept(listener) as other:
            await check_moves_bytes(transport, other)


async def test_a_name_is_looked_up() -> None:
    with listening() as listener:
        transport = await dial("localhost", port_of(listener))
        assert remote_address(transport) == ("127.0.0.1", port_of(listener))
        await end(transport)


@pytest.mark.usefixtures("virtual_time")
async def test_a_number_needs_no_resolver_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(anyio, "getaddrinfo")
    with listening() as listener:
        await end(await dial("127.0.0.1", port_of(listener)))
        await end(await dial("127.1", port_of(listener)))
    with listening("::1") as listener:
        await end(await dial("::1", port_of(listener)))


async def test_small_writes_are_not_held_back_by_the_kernel() -> None:
    with listening() as listener:
        transport = await dial("127.0.0.1", port_of(listener))
        raw = transport.extra_attributes[SocketAttribute.raw_socket]()
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await end(transport)


async def test_a_port_where_nobody_listens_is_an_os_error_that_says_so() -> None:
    with nobody_listening() as port:
        with pytest.raises(ConnectionRefusedError, match=rf"[Rr]efused.*{port}"):
            await dial("127.0.0.1", port)


async def test_an_address_without_a_route_is_an_os_error_that_says_so() -> None:
    with pytest.raises(OSError, match=r"[Nn]etwork is unreachable|[Pp]ermission denied") as caught:
        await dial("255.255.255.255", 80)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EACCES)


@pytest.mark.parametrize(
    "host",
    ["", "a" * 64 + ".example", "b\u00fccher..de", "\u00fc" * 64 + ".example", "-\u00fc-.de"],
)
async def test_a_host_that_cannot_be_one_is_an_os_error_that_says_why(host: str) -> None:
    with pytest.raises(OSError, match=r"(?i)name|label") as caught:
        await dial(host, 80)
    assert not isinstance(caught.value, TimeoutError)


async def test_a_name_that_does_not_resolve_is_an_os_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(anyio, "getaddrinfo", fail)
    with pytest.raises(socket.gaierror, match="not known") as caught:
        await dial("nowhere.example", 80)
    assert caught.value is error


async def test_a_resolver_that_finds_nothing_is_an_os_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def find_nothing(*args: object, **options: object) -> list[object]:
        return []

    monkeypatch.setattr(anyio, "getaddrinfo", find_nothing)
    with pytest.raises(OSError, match=r"'nowhere\.example' has no address"):
        await dial("nowhere.example", 80)


@pytest.mark.parametrize("port", [-1, 65536])
async def test_a_number_that_is_no_port_is_a_value_error(port: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 65535, not {port}"):
        await dial("127.0.0.1", port)


# -- where it is dialled from


async def test_the_local_address_is_where_the_connection_comes_from() -> None:
    with nobody_listening() as port:
        pass  # it was free just now
    with listening() as listener:
        transport = await dial("127.0.0.1", port_of(listener), local_address=("127.0.0.2", port))
        with await accept(listener) as other:
            assert other.getpeername() == ("127.0.0.2", port)
            await end(transport)


async def test_the_local_address_may_be_a_name_and_its_port_any() -> None:
    with listening() as listener:
        transport = await dial("127.0.0.1", port_of(listener), local_address=("localhost", 0))
        with await accept(listener) as other:
            assert other.getpeername()[0] == "127.0.0.1"
            await end(transport)


async def test_addresses_of_another_family_than_the_local_one_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def look_up(host: str, port: int, **options: object) -> list[tuple[Any, ...]]:
        stream = socket.SOCK_STREAM
        return [
            (socket.AF_INET6, stream, 0, "", ("::1", port)),
            (socket.AF_INET, stream, 0, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(anyio, "getaddrinfo", look_up)
    with nobody_listening() as port:
        with pytest.raises(ConnectionRefusedError):  # and nothing else
            await dial("both.example", port, local_address=("127.0.0.1", 0))


@pytest.mark.parametrize(
    ("local", "error"),
    [
        ("::1", "another family"),
        ("192.0.2.1", r"local address 192\.0\.2\.1 port 0: .*(?i:assign)"),
        ("b\u00fccher..de", "local address 'b\u00fccher..de'"),
    ],
)
async def test_a_local_address_that_cannot_be_used_is_an_os_error(local: str, error: str) -> None:
    with listening() as listener:
        with pytest.raises(OSError, match=error):
            await dial("127.0.0.1", port_of(listener), local_address=(local, 0))


# -- cancelling


async def test_cancelled_wherever_it_waits_it_leaves_nothing_open() -> None:
    with listening(backlog=100) as listener:
        for attempt in cancel_sweep():
            with anyio.fail_after(PATIENCE):
                transport = await attempt.run(dial("127.0.0.1", port_of(listener)))
            if transport is not None:
                await end(transport)


# -- Unix sockets


@contextmanager
def listening_at(path: Path, *, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_unix_socket_is_reached(kind: type, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening_at(path) as listener:
        transport = await dial_unix(kind(path))
        assert remote_address(transport) == str(path)
        with await accept(listener) as other:
            await check_moves_bytes(transport, other)


async def test_a_unix_socket_in_the_abstract_namespace_is_reached(tmp_path: Path) -> None:
    name = f"\0{tmp_path}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        listener.setblocking(False)
        transport = await dial_unix(name)
        with await accept(listener) as other:
            await check_moves_bytes(transport, other)


async def test_a_unix_socket_that_nobody_listens_at_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(FileNotFoundError, match="No such file"):
        await dial_unix(path)
    with listening_at(path):
        pass
    with pytest.raises(ConnectionRefusedError, match="refused"):
        await dial_unix(path)


async def test_a_path_that_is_too_long_is_an_os_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        await dial_unix(tmp_path / ("x" * 200))


@pytest.mark.usefixtures("virtual_time")
async def test_a_unix_socket_at_which_many_wait_is_waited_for(tmp_path: Path) -> None:
    dialled: list[Transport] = []

    async def dial_it() -> None:
        dialled.append(await dial_unix(path))

    path = tmp_path / "socket"
    with listening_at(path, backlog=0) as listener, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dial_it)
            await anyio.sleep(5)
            assert not dialled
            (await accept(listener)).close()
        with await accept(listener) as other:
            await check_moves_bytes(dialled[0], other)


@pytest.mark.usefixtures("virtual_time")
async def test_waiting_for_a_unix_socket_can_be_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening_at(path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        with anyio.move_on_after(60) as scope:
            await dial_unix(path)
    assert scope.cancelled_caught


async def test_dialling_a_unix_socket_leaves_nothing_open_when_it_is_cancelled(
    tmp_path: Path,
) -> None:
    with listening_at(tmp_path / "socket", backlog=100):
        for attempt in cancel_sweep():
            with anyio.fail_after(PATIENCE):
                transport = await attempt.run(dial_unix(tmp_path / "socket"))
            if transport is not None:
                await end(transport)
