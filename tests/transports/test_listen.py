"""From an address to listeners: `anyio_ws.transports.listen`."""

from __future__ import annotations

import socket

import anyio
import pytest

from anyio_ws.transports.listen import addresses, listen


async def test_port_0_is_a_free_port_and_the_address_says_which() -> None:
    async with await listen("127.0.0.1", 0, backlog=5) as listener:
        ((host, port),) = addresses(listener)
        assert host == "127.0.0.1"
        async with await anyio.connect_tcp(host, port):
            pass


async def test_every_interface_has_the_same_port() -> None:
    async with await listen(None, 0, backlog=5) as listener:
        found = addresses(listener)
        assert {host for host, port in found} <= {"::", "0.0.0.0"}
        (port,) = {port for host, port in found}
        async with await anyio.connect_tcp("127.0.0.1", port):
            pass


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await listen("127.0.0.1", taken.getsockname()[1], backlog=5)


async def test_an_address_that_is_not_this_machines_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"(?i)assign"):
        await listen("192.0.2.1", 0, backlog=5)


@pytest.mark.parametrize("port", [-1, 65536, 70000])
async def test_a_number_that_is_no_port_is_a_value_error(port: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 65535, not {port}"):
        await listen("127.0.0.1", port, backlog=5)
