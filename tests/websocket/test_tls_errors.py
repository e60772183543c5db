"""TLS that fails: what the error says. Certificates are made by an authority of the test's."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
import trustme

from anyio_ws import (
    ConnectError,
    InvalidMessage,
    WebSocket,
    WebSocketError,
    open_server,
    open_websocket,
)
from anyio_ws.transports import tls

Date = datetime.datetime


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def showing(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def error_from(
    context: ssl.SSLContext, client: ssl.SSLContext | None, *, name: str = "localhost"
) -> ConnectError:
    """What a client of a server with this *context* gets. Its message is without where that was."""
    async with open_server(echo, "127.0.0.1", 0, ssl=context) as server:
        with pytest.raises(ConnectError) as caught:
            async with open_websocket(server.url, ssl=client, server_hostname=name):
                pass
        prefix = f"can't connect to 127.0.0.1:{server.port}: "
        assert str(caught.value).startswith(prefix)
        caught.value.message = caught.value.message.removeprefix(prefix)
    return caught.value


# -- certificates


@pytest.mark.parametrize(
    ("not_before", "not_after", "said"),
    [
        (Date(2001, 1, 1), Date(2002, 1, 1), "certificate has expired"),
        (Date(2901, 1, 1), Date(2902, 1, 1), "certificate is not yet valid"),
    ],
)
async def test_a_certificate_of_another_time_is_said_to_be_one(
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    not_before: Date,
    not_after: Date,
    said: str,
) -> None:
    issued = ca.issue_cert("localhost", not_before=not_before, not_after=not_after)
    error = await error_from(showing(issued), client_ssl_context)
    assert str(error) == (f"certificate verify failed: {said} (or this machine's clock is wrong)")
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    assert error.errno is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other.example", "Hostname mismatch, certificate is not valid for 'other.example'"),
        ("192.0.2.1", "IP address mismatch, certificate is not valid for '192.0.2.1'"),
    ],
)
async def test_a_certificate_of_another_host_is_said_to_be_one_and_of_which(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext, name: str, said: str
) -> None:
    error = await error_from(server_ssl_context, client_ssl_context, name=name)
    theirs = "it is for 'localhost', '127.0.0.1', '0:0:0:0:0:0:0:1'"
    assert str(error) == f"certificate verify failed: {said}; {theirs}"


async def test_of_a_certificate_with_many_hosts_some_are_named(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    hosts = [f"{number}.{'x' * 60}.{'y' * 60}.example" for number in range(30)]
    error = await error_from(showing(ca.issue_cert(*hosts)), client_ssl_context)
    assert "'4.xxx" in str(error)
    assert "'5.xxx" not in str(error)
    assert str(error).endswith("yyy...', 25 more")
    assert len(str(error)) < 800


async def test_where_the_hosts_of_a_certificate_are_not_known_the_rest_is_said(
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(tls: object) -> list[str]:
        return []

    monkeypatch.setattr(tls, "_hosts_of_peer", unknown)
    error = await error_from(server_ssl_context, client_ssl_context, name="other.example")
    assert str(error).endswith("certificate is not valid for 'other.example'")


async def test_a_certificate_of_an_unknown_authority_is_said_to_be_one(
    server_ssl_context: ssl.SSLContext,
) -> None:
    for client in (None, ssl.create_default_context()):
        error = await error_from(server_ssl_context, client)
        assert str(error).startswith(
            "certificate verify failed: unable to get local issuer certificate (an authority that isn't known"
        )


async def test_a_certificate_that_is_self_signed_is_said_to_be_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = tmp_path_factory.mktemp("self-signed") / "both.pem"
    path.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context.load_cert_chain(path)
    error = await error_from(context, None)
    assert str(error).startswith("certificate verify failed: self-signed certificate (nobody vouch")


async def test_an_authority_that_vouches_for_itself_is_not_known_either(ca: trustme.CA) -> None:
    issued = ca.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems) + ca.cert_pem.bytes()
    with trustme.Blob(issued.private_key_pem.bytes() + chain).tempfile() as path:
        context.load_cert_chain(path)
    error = await error_from(context, None)
    assert "self-signed certificate in certificate chain (an authority that isn't" in str(error)


@pytest.mark.parametrize("what", ["everything", "the host"])
async def test_checks_are_off_by_a_context_that_does_not_check(
    what: str, ca: trustme.CA, server_ssl_context: ssl.SSLContext
) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    if what == "everything":
        context.verify_mode = ssl.CERT_NONE
    else:
        ca.configure_trust(context)
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        async with open_websocket(server.url, ssl=context, server_hostname="other.example") as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def test_a_certificate_of_ours_that_the_server_wants_is_said_to_be_missing(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    context = showing(ca.issue_cert("localhost"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    error = await error_from(context, client_ssl_context)
    assert str(error) == (
        "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED "
        "(the server wants a certificate of ours: load_cert_chain)"
    )


async def test_a_certificate_of_ours_is_shown_to_a_server_that_wants_it(ca: trustme.CA) -> None:
    context = showing(ca.issue_cert("localhost"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context()
    ca.configure_trust(ours)
    ca.issue_cert("ada@example.org").configure_cert(ours)
    async with open_server(echo, "127.0.0.1", 0, ssl=context) as server:
        async with open_websocket(server.url, ssl=ours, server_hostname="localhost") as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


# -- TLS here and not there


@asynccontextmanager
async def saying(first: bytes, *, then_read: bool) -> AsyncIterator[int]:
    """A server that says something and then waits for the client to leave, or says nothing and leaves."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if then_read:
                await stream.receive()
            if not first:
                return
            await stream.send(first)
            try:
                await stream.receive()  # so that closing is no reset
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def error_at(url: str) -> WebSocketError:
    with pytest.raises(WebSocketError) as caught, anyio.fail_after(10):
        async with open_websocket(url):
            pass
    return caught.value


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example ready\r\n",
        b"SSH-2.0-Server\r\n",
        bytes(40),
    ],
)
async def test_a_server_that_speaks_no_tls_is_said_to_speak_none(first: bytes) -> None:
    async with saying(first, then_read=first.startswith(b"HTTP")) as port:
        error = await error_at(f"wss://127.0.0.1:{port}/")
    assert isinstance(error, ConnectError)
    assert "TLS failed" in str(error)
    assert str(error).endswith("(the server speaks no TLS there: is it a ws:// URL?)")
    assert isinstance(error.__cause__, ssl.SSLError)


async def test_a_server_that_says_nothing_to_tls_may_not_speak_it() -> None:
    async with saying(b"", then_read=True) as port:
        error = await error_at(f"wss://127.0.0.1:{port}/")
    assert isinstance(error, ConnectError)
    assert str(error).endswith("during the TLS handshake (does the server speak TLS there?)")


async def test_a_server_that_wants_tls_is_said_to_want_it(
    server_ssl_context: ssl.SSLContext,
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        error = await error_at(f"ws://127.0.0.1:{server.port}/")
    assert isinstance(error, InvalidMessage)
    assert "does the server want TLS (wss://)?" in str(error)


@pytest.mark.parametrize("alert", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03"])
async def test_an_alert_of_tls_says_that_a_server_wants_tls(alert: bytes) -> None:
    async with saying(alert, then_read=True) as port:
        error = await error_at(f"ws://127.0.0.1:{port}/")
    assert isinstance(error, InvalidMessage)
    assert str(error) == "no HTTP message begins with the byte 0x15, but TLS does (wss://)"
