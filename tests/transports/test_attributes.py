"""What every kind of transport tells of itself: typed attributes."""

from __future__ import annotations

import ssl
from typing import Any

from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from .kinds import TLS, Kind, of_kinds, running
from .recorder import Link


@of_kinds(lambda kind: "tcp" in kind.name)
async def test_addresses_are_known_during_the_connection_and_after_it(kind: Kind, tls: TLS) -> None:
    def addresses(link: Link) -> list[Any]:
        names: list[Any] = [
            SocketAttribute.local_address,
            SocketAttribute.remote_address,
            SocketAttribute.local_port,
            SocketAttribute.remote_port,
        ]
        return [link.transport.extra_attributes[name]() for name in names]

    async with running(kind, tls) as link:
        before = addresses(link)
        (host, port), (far_host, far_port), *ports = before
        assert host == far_host == "127.0.0.1"
        assert ports == [port, far_port]
        await link.peer.leave()
        await link.sink.until(lambda: "eof" in link.sink.calls or link.sink.lost)
        link.transport.abort()
    assert addresses(link) == before


@of_kinds(lambda kind: "unix" in kind.name)
async def test_a_unix_socket_has_paths_and_no_ports(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        attributes = link.transport.extra_attributes
        assert attributes[SocketAttribute.local_address]() == ""
        assert attributes[SocketAttribute.remote_address]() == ""
        assert SocketAttribute.local_port not in attributes
        link.transport.abort()


@of_kinds(lambda kind: kind.name == "memory")
async def test_a_memory_stream_has_nothing_to_tell(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        assert dict(link.transport.extra_attributes) == {}
        link.transport.abort()


@of_kinds(lambda kind: "tls" in kind.name)
async def test_tls_is_known(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(b"x")
        await link.peer_receives(1)  # the handshake is over
        attributes = link.transport.extra_attributes
        assert attributes[TLSAttribute.tls_version]() == "TLSv1.3"
        assert attributes[TLSAttribute.alpn_protocol]() is None
        assert len(attributes[TLSAttribute.cipher]()) == 3
        certificate = attributes[TLSAttribute.peer_certificate_binary]()
        if attributes[TLSAttribute.server_side]():
            assert certificate is None
        else:
            assert ssl.DER_cert_to_PEM_cert(certificate)
            assert attributes[TLSAttribute.peer_certificate]()["subject"]
        link.transport.abort()


@of_kinds(lambda kind: "tls" not in kind.name)
async def test_where_there_is_no_tls_none_is_told_of(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        assert TLSAttribute.tls_version not in link.transport.extra_attributes
        link.transport.abort()
