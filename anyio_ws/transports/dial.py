"""From an address to a connected transport. What fails raises `OSError` or `ssl.SSLError`."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, cast

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from .base import Transport
from .stream import AnyByteStream, StreamTransport, close_forcefully, is_trio, join

if TYPE_CHECKING:
    import trio

__all__ = ["dial", "wrap"]


async def dial(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Transport:
    """Connect to *host* (Happy Eyeballs, RFC 8305), with TLS if there is a *context*.

    Cancelling closes what was opened.

    :raises OSError: the name can't be resolved, or no address accepts the connection
    :raises ssl.SSLError: the TLS handshake failed
    """
    try:
        stream = await anyio.connect_tcp(host, port)
    except UnicodeError as exc:  # of IDNA; where ASCII suffices, the resolver says it
        raise OSError(f"{host!r} isn't a valid host name: {exc}") from exc
    return await wrap(stream, context, server_side=False, hostname=server_hostname or host)


async def wrap(
    stream: AnyByteStream,
    context: ssl.SSLContext | None,
    *,
    server_side: bool,
    hostname: str | None = None,
) -> Transport:
    """Make a transport of *stream*; start TLS on it if there is a *context* and it has none yet.

    *stream* is closed if that fails or is cancelled.

    :raises TypeError: *stream* is none of the kinds of `AnyByteStream`
    :raises ValueError: the certificate is to be checked, and there is no *hostname*
    :raises OSError: the stream broke, or ended, during the TLS handshake
    :raises ssl.SSLError: the TLS handshake failed
    """
    if context is None:
        return StreamTransport(stream)
    joined = join(stream)
    try:
        if hostname is None and not server_side and context.check_hostname:
            raise ValueError("a hostname is needed to check the certificate")  # ssl lets it pass
        if is_trio(joined):
            return StreamTransport(await _start_trio_tls(joined, context, server_side, hostname))
        joined = cast(ByteStream, joined)
        if joined.extra(TLSAttribute.ssl_object, None) is not None:
            return StreamTransport(joined)
        # WebSocket's own Close frame tells an end from a truncation, so an end without TLS's
        # close_notify is an ordinary end of the stream.
        return StreamTransport(
            await TLSStream.wrap(
                joined,
                server_side=server_side,
                hostname=hostname,
                ssl_context=context,
                standard_compatible=False,
            )
        )
    except (anyio.EndOfStream, anyio.BrokenResourceError) as exc:
        await close_forcefully(joined)
        if isinstance(exc.__cause__, OSError):
            raise exc.__cause__ from None  # ssl.SSLError is an OSError, too
        raise ConnectionResetError("the connection ended during the TLS handshake") from exc
    except BaseException:
        await close_forcefully(joined)
        raise


async def _start_trio_tls(
    stream: trio.abc.Stream, context: ssl.SSLContext, server_side: bool, hostname: str | None
) -> trio.abc.Stream:
    import trio  # the stream is trio's, so it is installed

    if isinstance(stream, trio.SSLStream):
        return cast("trio.abc.Stream", stream)
    tls = trio.SSLStream(
        stream,
        context,
        server_hostname=hostname,
        server_side=server_side,
        https_compatible=True,  # as above: an end is an end
    )
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as exc:
        raise anyio.BrokenResourceError from exc.__cause__
    return cast("trio.abc.Stream", tls)
