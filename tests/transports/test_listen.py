"""From an address, or from somebody's listener, to listening sockets: `anyio_ws.transports.listen`."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import pytest
import trio
from anyio.abc import SocketAttribute

from anyio_ws.testing import cancel_sweep
from anyio_ws.transports.listen import ListeningSocket, listen_tcp, listen_unix, take_over

from .kinds import PATIENCE


@contextmanager
def closing(listeners: Sequence[ListeningSocket]) -> Iterator[Sequence[ListeningSocket]]:
    try:
        yield listeners
    finally:
        for one in listeners:
            one.close()


def port_of(listeners: Sequence[ListeningSocket]) -> int:
    """The port of them all."""
    (port,) = {one.address[1] for one in listeners if isinstance(one.address, tuple)}
    return port


def unexpected(error: OSError) -> None:
    raise AssertionError("there are resources") from error


async def check_accepts(listener: ListeningSocket) -> None:
    """A connection to its address is accepted there."""
    address = listener.address
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.connect(address)
        async with anyio.create_task_group() as tasks:

            def serve(sock: socket.socket) -> None:
                assert sock.getsockname() == client.getpeername()
                sock.close()
                tasks.cancel_scope.cancel()

            with anyio.fail_after(PATIENCE):
                await listener.accept(serve, unexpected)


# -- TCP


async def test_port_0_is_a_free_port_and_the_address_says_which() -> None:
    with closing(await listen_tcp("127.0.0.1", 0, backlog=5)) as (listener,):
        assert listener.address == ("127.0.0.1", port_of([listener]))
        assert port_of([listener]) > 0
        await check_accepts(listener)


@pytest.mark.parametrize("host", [None, ""])
async def test_every_interface_has_the_same_port(host: str | None) -> None:
    with closing(await listen_tcp(host, 0, backlog=5)) as listeners:
        assert {one.address[0] for one in listeners} <= {"::", "0.0.0.0"}
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.create_connection((address, port_of(listeners))):
                pass


async def test_a_name_is_listened_on_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*args: object, **options: object) -> list[tuple[Any, ...]]:
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 0, "", (f"127.0.0.{last}", 0)) for last in (1, 2)]

    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", look_up)
    with closing(await listen_tcp("two.example", 0, backlog=5)) as listeners:
        port = port_of(listeners)
        assert [one.address for one in listeners] == [("127.0.0.1", port), ("127.0.0.2", port)]
        for one in listeners:
            await check_accepts(one)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            await listen_tcp("127.0.0.1", taken.getsockname()[1], backlog=5)


async def test_two_can_share_a_port_if_both_agree() -> None:
    with closing(await listen_tcp("127.0.0.1", 0, backlog=5, reuse_port=True)) as first:
        port = port_of(first)
        with closing(await listen_tcp("127.0.0.1", port, backlog=5, reuse_port=True)) as second:
            assert port_of(second) == port
        with pytest.raises(OSError, match="in use"):
            await listen_tcp("127.0.0.1", port, backlog=5)


async def test_an_address_that_is_not_this_machines_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"(?i)assign"):
        await listen_tcp("192.0.2.1", 0, backlog=5)


@pytest.mark.parametrize("port", [-1, 65536, 70000])
async def test_a_number_that_is_no_port_is_a_value_error(port: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 65535, not {port}"):
        await listen_tcp("127.0.0.1", port, backlog=5)


def connect_many(family: int, address: object, number: int) -> int:
    """How many of so many attempts succeed at once."""
    with ExitStack() as stack:
        attempts = [stack.enter_context(socket.socket(family)) for _ in range(number)]
        for sock in attempts:
            sock.setblocking(False)
            sock.connect_ex(address)  # type: ignore[arg-type]  # of either family
        _, writable, _ = select.select([], attempts, [], 0)
        named = 0
        for sock in writable:
            try:
                sock.getpeername()
            except OSError:
                continue  # a Unix socket that was turned away is writable, too
            named += 1
        return named


async def test_the_backlog_is_how_many_may_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for backlog, least, most in [(1, 1, 9), (20, 10, 10)]:
        with closing(await listen_tcp("127.0.0.1", 0, backlog=backlog)) as (listener,):
            assert least <= connect_many(socket.AF_INET, listener.address, 10) <= most
        with closing(await listen_unix(path, backlog=backlog)):
            assert least <= connect_many(socket.AF_UNIX, path, 10) <= most


async def test_cancelled_wherever_it_waits_it_leaves_nothing_open() -> None:
    for attempt in cancel_sweep():
        with anyio.fail_after(PATIENCE):
            listeners = await attempt.run(listen_tcp("127.0.0.1", 0, backlog=5))
        with closing(listeners or ()):
            pass


# -- Unix sockets


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_unix_sockets_file_is_removed_in_the_end(kind: type, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with closing(await listen_unix(kind(path), backlog=5)) as (listener,):
        assert listener.address == str(path)
        await check_accepts(listener)
    assert os.listdir(tmp_path) == []
    listener.close()  # a second time does nothing


async def test_a_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with closing(await listen_unix(path, backlog=5)) as (listener,):
        await check_accepts(listener)


async def test_a_unix_socket_that_took_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with closing(await listen_unix(path, backlog=5)) as (old,):
        with closing(await listen_unix(path, backlog=5)) as (new,):
            old.close()
            await check_accepts(new)


async def test_a_file_that_took_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with closing(await listen_unix(path, backlog=5)):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


async def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await listen_unix(path, backlog=5)
    assert path.read_text() == "precious"


async def test_a_file_that_cannot_be_removed_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError

    path = tmp_path / "socket"
    with closing(await listen_unix(path, backlog=5)) as (listener,):
        with monkeypatch.context() as patches:
            patches.setattr(os, "unlink", refuse)
            listener.close()
    assert path.is_socket()


async def test_a_path_that_cannot_be_listened_on_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await listen_unix(tmp_path / "missing" / "socket", backlog=5)
    with pytest.raises(OSError, match="too long"):
        await listen_unix(tmp_path / ("x" * 200), backlog=5)


async def test_the_abstract_namespace_needs_no_file(tmp_path: Path) -> None:
    with closing(await listen_unix(f"\0{tmp_path}", backlog=5)) as (listener,):
        await check_accepts(listener)


async def test_cancelled_listening_leaves_no_file(tmp_path: Path) -> None:
    for attempt in cancel_sweep():
        listeners = await attempt.run(listen_unix(tmp_path / "socket", backlog=5))
        with closing(listeners or ()):
            assert (tmp_path / "socket").exists() is bool(listeners), attempt


# -- what is there already


@dataclass(frozen=True)
class Kind:
    """A kind of listener that somebody else opened; *open* gives it and its addresses."""

    name: str
    open: Callable[[Path], Awaitable[tuple[Any, list[object]]]]
    backends: tuple[str, ...] = ("asyncio", "uvloop", "trio")

    def __str__(self) -> str:
        return self.name


async def tcp_socket(path: Path) -> tuple[Any, list[object]]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, [sock.getsockname()]


async def unix_socket(path: Path) -> tuple[Any, list[object]]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock, [str(path)]


async def anyio_multi_listener(path: Path) -> tuple[Any, list[object]]:
    one, other = [await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in range(2)]
    multi = type(one)([*one.listeners, *other.listeners])
    return multi, [single.extra(SocketAttribute.local_address) for single in multi.listeners]


async def anyio_listener(path: Path) -> tuple[Any, list[object]]:
    (single,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    return single, [single.extra(SocketAttribute.local_address)]


async def anyio_unix_listener(path: Path) -> tuple[Any, list[object]]:
    return await anyio.create_unix_listener(path), [str(path)]


async def trio_listener(path: Path) -> tuple[Any, list[object]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener, [listener.socket.getsockname()]


KINDS = [
    Kind("socket", tcp_socket),
    Kind("unix socket", unix_socket),
    Kind("anyio multi", anyio_multi_listener),
    Kind("anyio single", anyio_listener),
    Kind("anyio unix", anyio_unix_listener),
    Kind("trio", trio_listener, ("trio",)),
]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


async def aclose(listener: Any) -> None:
    if isinstance(listener, socket.socket):
        listener.close()
    else:
        await listener.aclose()


@every_kind
async def test_a_listener_is_taken_over(kind: Kind, tmp_path: Path) -> None:
    theirs, addresses = await kind.open(tmp_path / "socket")
    with closing(take_over([theirs])) as listeners:
        assert [one.address for one in listeners] == addresses
        for one in listeners:
            await check_accepts(one)
    await aclose(theirs)  # does no harm


@every_kind
async def test_a_unix_socket_that_was_there_already_keeps_its_file(
    kind: Kind, tmp_path: Path
) -> None:
    theirs, _ = await kind.open(tmp_path / "socket")
    before = os.listdir(tmp_path)
    with closing(take_over([theirs])):
        pass
    assert os.listdir(tmp_path) == before
    await aclose(theirs)


async def test_several_listeners_are_taken_over_in_their_order(tmp_path: Path) -> None:
    opened = [await kind.open(tmp_path / "socket") for kind in (KINDS[1], KINDS[2], KINDS[0])]
    addresses = [address for _, found in opened for address in found]
    with closing(take_over(listener for listener, _ in opened)) as listeners:
        assert [one.address for one in listeners] == addresses


async def test_a_listener_that_is_given_twice_is_one() -> None:
    theirs = await anyio.create_tcp_listener(local_host="127.0.0.1")
    single = cast("anyio.abc.SocketListener", theirs.listeners[0])
    with closing(take_over([theirs, single])) as listeners:
        assert len(listeners) == 1
        await check_accepts(listeners[0])


def not_listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def closed() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (object, TypeError),
        (lambda: "127.0.0.1", TypeError),
        (lambda: ("127.0.0.1", 80), TypeError),
        (not_listening, ValueError),
        (closed, ValueError),
    ],
    ids=["object", "str", "address", "not listening", "closed"],
)
@every_kind
async def test_when_one_of_several_is_wrong_the_others_are_left_as_they_were(
    kind: Kind, wrong: Callable[[], Any], error: type[Exception], tmp_path: Path
) -> None:
    theirs, addresses = await kind.open(tmp_path / "socket")
    junk = wrong()
    with pytest.raises(error, match="listen"):
        take_over([theirs, junk])
    if isinstance(junk, socket.socket):
        junk.close()
    with closing(take_over([theirs])) as listeners:
        assert [one.address for one in listeners] == addresses


async def test_no_listener_at_all_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no listener"):
        take_over([])
