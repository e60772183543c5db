"""What is particular to TLS as a filter: `anyio_ws.transports.tls`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSAttribute, TLSStream

from anyio_ws.testing import memory_stream_pair
from anyio_ws.transports.stream import StreamTransport
from anyio_ws.transports.tls import TLSEngine, TLSHandshakeError, TLSTransport, secured

from .kinds import PATIENCE, TLS, Kind, memory, of_kinds
from .peers import AnyIOPeer, HandTLS
from .recorder import Link, pattern, settle

BELOW = ("memory", "lockstep", "tcp", "accepted_tcp", "unix")
over_each = of_kinds(lambda kind: kind.name in BELOW)


class TLSLink(Link):
    """A link whose peer is what is below TLS."""

    peer: AnyIOPeer
    engine: TLSEngine

    async def shake_hands(self, context: ssl.SSLContext, **options: Any) -> TLSStream:
        """Do the peer's part."""
        options.setdefault("hostname", "localhost")
        with anyio.fail_after(PATIENCE):
            return await TLSStream.wrap(self.peer.stream, ssl_context=context, **options)

    async def answer(self, context: ssl.SSLContext, **options: Any) -> TLSStream:
        """Do the peer's part, as a server."""
        return await self.shake_hands(context, hostname=None, server_side=True, **options)

    @property
    def attributes(self) -> Any:
        return self.transport.extra_attributes


@asynccontextmanager
async def running(
    connect: Callable[[TLS], Awaitable[Any]], tls: TLS, engine: TLSEngine
) -> AsyncIterator[TLSLink]:
    """Run our TLS over a transport; by the end of the block the connection has to be ending."""
    below, peer, ends = await connect(tls)
    link = TLSLink(TLSTransport(below, engine), peer, ends, half_closes=False)
    link.engine = engine
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.transport.run)
            yield link
            await link.lost()
        await link.assert_over()
    finally:
        await peer.leave()


def client(context: ssl.SSLContext, hostname: str = "localhost") -> TLSEngine:
    return TLSEngine(context, server_side=False, hostname=hostname)


def server(context: ssl.SSLContext) -> TLSEngine:
    return TLSEngine(context, server_side=True)


def copy_of(ca: trustme.CA, *names: str, **certificate: Any) -> TLS:
    """Contexts that a test may change, and a certificate of its own."""
    own = TLS(ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    ca.configure_trust(own.client)
    ca.issue_cert(*names or ("localhost",), **certificate).configure_cert(own.server)
    return own


def assert_handshake_failed(link: Link, cause: type[BaseException] | None, match: str = "") -> None:
    """The sink was told of nothing but that, with *cause*."""
    assert set(link.sink.calls) == {"lost"}
    error = link.sink.cause
    assert isinstance(error, TLSHandshakeError)
    assert match in str(error)
    if cause is None:
        assert error.__cause__ is None
    else:
        assert isinstance(error.__cause__, cause)


class TestClientsHandshakeFails:
    @staticmethod
    async def fail(kind: Kind, engine: TLSEngine, tls: TLS) -> tuple[Link, ssl.SSLError]:
        """Let it fail because of the server's certificate; return what the server gets to know."""
        async with running(kind.connect, tls, engine) as link:
            link.transport.write(b"never sent")
            with pytest.raises(ssl.SSLError) as caught:
                await (await link.answer(tls.server)).receive()
            await link.lost()
            link.transport.write(b"nor this")
        return link, caught.value

    @over_each
    async def test_an_unknown_authority(self, kind: Kind, tls: TLS) -> None:
        link, alert = await self.fail(kind, client(ssl.create_default_context()), tls)
        assert_handshake_failed(link, ssl.SSLCertVerificationError, "unable to get local issuer")
        assert alert.reason == "TLSV1_ALERT_UNKNOWN_CA"

    @over_each
    async def test_a_certificate_for_another_host(self, kind: Kind, tls: TLS) -> None:
        link, alert = await self.fail(kind, client(tls.client, "www.example.org"), tls)
        assert_handshake_failed(link, ssl.SSLCertVerificationError, "www.example.org")
        assert alert.reason == "SSLV3_ALERT_BAD_CERTIFICATE"

    @over_each
    async def test_a_certificate_for_another_address(self, kind: Kind, tls: TLS) -> None:
        link, _ = await self.fail(kind, client(tls.client, "127.0.0.2"), tls)
        assert_handshake_failed(link, ssl.SSLCertVerificationError, "127.0.0.2")

    @over_each
    async def test_a_certificate_that_has_expired(self, kind: Kind, ca: trustme.CA) -> None:
        past = datetime(2001, 1, 1, tzinfo=UTC)
        own = copy_of(ca, not_before=past, not_after=past.replace(year=2002))
        link, alert = await self.fail(kind, client(own.client), own)
        assert_handshake_failed(link, ssl.SSLCertVerificationError, "expired")
        assert alert.reason == "SSLV3_ALERT_CERTIFICATE_EXPIRED"

    @over_each
    async def test_a_server_that_speaks_no_version_of_ours(
        self, kind: Kind, ca: trustme.CA
    ) -> None:
        own = copy_of(ca)
        own.client.minimum_version = ssl.TLSVersion.TLSv1_3
        own.server.maximum_version = ssl.TLSVersion.TLSv1_2
        async with running(kind.connect, own, client(own.client)) as link:
            with pytest.raises(ssl.SSLError):
                await HandTLS(link.peer, own.server, server_side=True).shake_hands()
        assert_handshake_failed(link, ssl.SSLError, "ALERT_PROTOCOL_VERSION")

    @over_each
    async def test_a_peer_that_does_not_speak_tls(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, client(tls.client)) as link:
            await link.peer.receive()
            await link.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await link.peer_sees_the_end()
        assert_handshake_failed(link, ssl.SSLError, "WRONG_VERSION_NUMBER")


class TestServersHandshakeFails:
    @over_each
    async def test_a_client_that_distrusts_us(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, server(tls.server)) as link:
            doubtful = HandTLS(link.peer, ssl.create_default_context(), server_side=False)
            with pytest.raises(ssl.SSLCertVerificationError):
                await doubtful.shake_hands()
        assert_handshake_failed(link, ssl.SSLError, "ALERT_UNKNOWN_CA")

    @over_each
    async def test_a_client_that_does_not_speak_tls(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, server(tls.server)) as link:
            await link.peer.send(b"GET / HTTP/1.1\r\n\r\n")
            await link.peer_sees_the_end()
        assert_handshake_failed(link, ssl.SSLError, "HTTP_REQUEST")

    @over_each
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_client_without_the_certificate_that_we_want(
        self, kind: Kind, ca: trustme.CA, version: ssl.TLSVersion
    ) -> None:
        own = copy_of(ca)
        own.client.maximum_version = version
        own.server.verify_mode = ssl.CERT_REQUIRED
        async with running(kind.connect, own, server(own.server)) as link:
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await (await link.shake_hands(own.client)).receive()
        assert_handshake_failed(link, ssl.SSLError, "PEER_DID_NOT_RETURN_A_CERTIFICATE")


class TestTheConnectionEndsInTheHandshake:
    @over_each
    @pytest.mark.parametrize("heard", [False, True])
    async def test_by_a_peer_that_hangs_up(self, kind: Kind, tls: TLS, heard: bool) -> None:
        async with running(kind.connect, tls, client(tls.client)) as link:
            if heard:
                assert await link.peer.receive()
            await link.peer.send_eof()
            await link.lost()
        assert_handshake_failed(link, None, "the connection ended during the TLS handshake")

    @over_each
    async def test_by_a_client_that_hangs_up(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, server(tls.server)) as link:
            await link.peer.leave()
        assert_handshake_failed(link, None, "the connection ended during the TLS handshake")

    @of_kinds(lambda kind: kind.name in BELOW and kind.resets)
    @pytest.mark.parametrize("heard", [False, True])
    async def test_by_a_reset(self, kind: Kind, tls: TLS, heard: bool) -> None:
        async with running(kind.connect, tls, client(tls.client)) as link:
            if heard:
                assert await link.peer.receive()
                await link.peer.send(b"\x16\x03\x03")
            link.transport.write(b"plain")
            await link.peer.reset()
        assert_handshake_failed(link, Exception, "the connection broke during the TLS handshake")

    @of_kinds(lambda kind: kind.name in BELOW and kind.resets)
    async def test_by_a_client_that_resets(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, server(tls.server)) as link:
            await settle()
            await link.peer.reset()
        assert_handshake_failed(link, Exception, "the connection broke during the TLS handshake")

    @over_each
    async def test_by_aborting_it(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, client(tls.client)) as link:
            link.transport.write(b"plain")
            await settle()
            link.transport.abort()
        assert link.sink.calls == ["lost"]
        assert link.sink.cause is None

    async def test_by_aborting_it_while_its_alert_is_stuck(self, tls: TLS) -> None:
        engine = client(ssl.create_default_context())
        async with running(memory(buffer=0), tls, engine) as link:
            peer = HandTLS(link.peer, tls.server, server_side=True)
            await peer.feed()
            with pytest.raises(ssl.SSLWantReadError):
                peer.object.do_handshake()
            await peer.flush()
            await settle()
            assert not link.sink.lost  # the peer can still learn why
            link.transport.abort()
        assert link.sink.cause is None


class TestNames:
    @pytest.mark.parametrize("hostname", [None, ""])
    async def test_one_that_is_missing_is_a_value_error(
        self, tls: TLS, hostname: str | None
    ) -> None:
        with pytest.raises(ValueError, match="hostname"):
            TLSEngine(tls.client, server_side=False, hostname=hostname)

    async def test_one_that_cannot_be_one_is_a_value_error(self, tls: TLS) -> None:
        with pytest.raises(ValueError, match="label empty"):
            TLSEngine(tls.client, server_side=False, hostname=".example.org")

    async def test_without_a_check_of_the_name_none_is_needed(self, tls: TLS) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        engine = TLSEngine(context, server_side=False)
        async with running(memory(), tls, engine) as link:
            await link.answer(tls.server)
            link.transport.abort()

    @pytest.mark.parametrize(("hostname", "sent"), [("localhost", "localhost"), ("::1", None)])
    async def test_the_server_is_told_the_name_and_not_an_address(
        self, ca: trustme.CA, hostname: str, sent: str | None
    ) -> None:
        own = copy_of(ca, "localhost", "::1")
        names: list[str | None] = []
        own.server.sni_callback = lambda tls, name, context: names.append(name)
        async with running(memory(), own, client(own.client, hostname)) as link:
            await link.answer(own.server)
            link.transport.abort()
        assert names == [sent]


class TestHandshake:
    @over_each
    async def test_what_was_written_before_leaves_after_it(self, kind: Kind, tls: TLS) -> None:
        data = pattern(100_000)
        async with running(kind.connect, tls, client(tls.client)) as link:
            link.transport.write(data[:5])
            link.transport.write(data[5:])
            assert link.transport.unsent >= len(data)
            link.transport.write_eof()
            stream = await link.answer(tls.server)
            found = b""
            while len(found) < len(data):
                found += await stream.receive()
            assert found == data
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            await link.peer.leave()
        assert link.sink.cause is None

    @of_kinds(lambda kind: kind.name in BELOW and kind.name != "lockstep")
    async def test_a_pause_does_not_delay_it(self, kind: Kind, tls: TLS) -> None:
        async with running(kind.connect, tls, client(tls.client)) as link:
            link.transport.pause_reading()
            link.transport.write(b"hello")
            stream = await link.answer(tls.server)
            assert await stream.receive() == b"hello"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.send, b"hi")
                await settle()
                link.transport.resume_reading()
                assert await link.received(2) == b"hi"
            link.transport.abort()

    @pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"]])
    async def test_the_protocol_is_agreed_on(self, ca: trustme.CA, offered: list[str]) -> None:
        own = copy_of(ca)
        own.client.set_alpn_protocols(offered)
        own.server.set_alpn_protocols(["http/1.1"])
        async with running(memory(), own, client(own.client)) as link:
            link.transport.write(b"x")
            stream = await link.answer(own.server)
            assert await stream.receive() == b"x"
            assert link.attributes[TLSAttribute.alpn_protocol]() == "http/1.1"
            link.transport.abort()

    @over_each
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("server_side", [False, True])
    async def test_with_either_version_both_sides_talk(
        self, kind: Kind, ca: trustme.CA, version: ssl.TLSVersion, server_side: bool
    ) -> None:
        own = copy_of(ca)
        own.client.minimum_version = own.client.maximum_version = version
        engine = server(own.server) if server_side else client(own.client)
        async with running(kind.connect, own, engine) as link:
            link.transport.write(b"hello")
            shake = link.shake_hands(own.client) if server_side else link.answer(own.server)
            stream = await shake
            assert await stream.receive() == b"hello"
            await stream.send(b"hi")
            assert await link.received(2) == b"hi"
            expected = version.name.replace("TLSv1_", "TLSv1.")
            assert link.attributes[TLSAttribute.tls_version]() == expected
            link.transport.abort()

    @pytest.mark.parametrize("server_side", [False, True])
    @pytest.mark.parametrize("chunk", [1, 2, 5, 100])
    async def test_records_may_be_cut_anywhere(
        self, tls: TLS, server_side: bool, chunk: int
    ) -> None:
        data = pattern(1000)
        engine = server(tls.server) if server_side else client(tls.client)
        async with running(memory(chunk=chunk), tls, engine) as link:
            shake = link.shake_hands(tls.client) if server_side else link.answer(tls.server)
            stream = await shake
            await stream.send(data)
            assert await link.received(len(data)) == data
            link.transport.abort()


class TestSecuring:
    async def test_without_an_engine_it_is_the_transport_itself(self) -> None:
        below = StreamTransport(memory_stream_pair()[0])
        assert secured(below, None) is below

    async def test_a_stream_that_has_tls_is_not_given_it_again(self, tls: TLS) -> None:
        below = TLSTransport(StreamTransport(memory_stream_pair()[0]), client(tls.client))
        assert secured(below, client(tls.client)) is below

    async def test_otherwise_it_is_tls_over_the_transport(self, tls: TLS) -> None:
        below = StreamTransport(memory_stream_pair()[0])
        assert isinstance(secured(below, client(tls.client)), TLSTransport)
