"""TLS as a filter over any transport.

An `ssl.SSLObject` between two memory BIOs does the work, in plain calls; there is no task and nothing to
await, so this is the same code over every transport. After each call on the object, whatever it wants
sent goes below.

* The handshake begins with `TLSTransport.start`. What is written meanwhile waits for its end. When it
  fails the connection is lost, with a `TLSHandshakeError` that says why.
* While reading is paused, what has arrived stays encrypted: one chunk of the transport below.
* `write_eof` sends TLS's own goodbye, close_notify, doesn't wait for the peer's, and half-closes below.
  What the peer still sends is read and dropped.
* The end of the stream below is the end of the input, with or without a close_notify: WebSocket's own
  Close frame tells an end from a truncation.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

from anyio.streams.tls import TLSAttribute

from ..exceptions import ProxyError
from .base import Sink, Transport, TypedAttributes, text_of
from .filter import Filter
from .sockets import read_buffer

__all__ = ["TLSEngine", "TLSHandshakeError", "TLSTransport", "check_serving", "secured"]

RECORD: Final = 2**14
"""Bytes of plaintext in a record, at most (RFC 8446, section 5.1)."""


class TLSHandshakeError(ConnectionError):
    """The TLS handshake failed; ``__cause__`` says what happened to it, if anything did.

    ``hosts`` are those that the peer's certificate is for, if that is what was wrong and they are known.
    """

    hosts: Sequence[str] = ()


class TLSEngine:
    """One connection's worth of OpenSSL. Made apart from the transport: what is wrong shows before dialling.

    :raises ValueError: the certificate is to be checked and there is no hostname, or it can't be one
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None):
        if not server_side and context.check_hostname and not hostname:
            raise ValueError("a hostname is needed to check the certificate")  # ssl lets it pass
        self.incoming: Final = ssl.MemoryBIO()
        self.outgoing: Final = ssl.MemoryBIO()
        self.object: Final = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else hostname,
        )


def check_serving(context: ssl.SSLContext) -> None:
    """Try *context* in a handshake with ourselves: without a certificate every client would fail.

    A context that chooses another one by the name that is asked for (``sni_callback``) isn't tried.

    :raises ValueError: it can't be a server's
    """
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname = False
    ours.verify_mode = ssl.CERT_NONE
    try:
        server = TLSEngine(context, server_side=True)
        if context.sni_callback is not None:
            return
        client = TLSEngine(ours, server_side=False)
        with suppress(ssl.SSLWantReadError):
            client.object.do_handshake()
        server.incoming.write(client.outgoing.read())
        with suppress(ssl.SSLWantReadError):
            server.object.do_handshake()
    except ssl.SSLError as exc:
        if not exc.reason:
            raise ValueError(f"ssl isn't a context for servers: {exc}") from exc
        if exc.reason == "NO_SHARED_CIPHER":
            raise ValueError(
                "ssl has no certificate that a server could show: load_cert_chain"
            ) from exc


def secured(below: Transport, engine: TLSEngine | None) -> Transport:
    """Put TLS over *below* if there is an *engine*, and no TLS yet."""
    if engine is None or TLSAttribute.tls_version in below.extra_attributes:
        return below
    return TLSTransport(below, engine)


def _hosts_of_peer(tls: ssl.SSLObject) -> Sequence[str]:
    """The names and addresses of the peer's certificate, of one that was refused, too.

    ``getpeercert`` has none of these. What does is public from Python 3.13 on, and undecoded there.
    """
    try:
        certificate = cast("Any", tls)._sslobj.get_unverified_chain()[0].get_info()
        names = certificate.get("subjectAltName", ())
        return [str(name) for kind, name in names if kind in ("DNS", "IP Address")]
    except (AttributeError, IndexError, TypeError, ValueError, ssl.SSLError):
        return ()  # this Python has it otherwise: the error says a little less


class TLSTransport(Filter):
    """See `anyio_ws.transports.base.Transport`."""

    def __init__(self, below: Transport, engine: TLSEngine) -> None:
        super().__init__(below)
        self._object = engine.object
        self._incoming = engine.incoming
        self._outgoing = engine.outgoing
        self._secured = False  # the handshake is over
        self._plaintext = bytearray()  # that waits for it
        self._paused = False
        self._decrypting = False
        self._answers = 0  # bytes, since all had left
        self._buffer = read_buffer()  # what is below has had its use of it: the chunk is in the BIO
        self._input_end: ssl.SSLError | None = None
        self._eof_received = False
        self._eof_wanted = False
        self._closing = False  # close_notify was written
        self._closed = False  # and has left

    @property
    def unsent(self) -> int:
        # What only the handshake, or a session ticket, left there wasn't written.
        return self._all_unsent if self._waiting else 0

    @property
    def extra_attributes(self) -> TypedAttributes:
        tls = self._object
        attribute: Any = TLSAttribute  # AnyIO has the types of the values in place of the names'
        attributes: TypedAttributes = {
            attribute.alpn_protocol: tls.selected_alpn_protocol,
            attribute.channel_binding_tls_unique: tls.get_channel_binding,
            attribute.cipher: tls.cipher,
            attribute.peer_certificate: lambda: tls.getpeercert(False),
            attribute.peer_certificate_binary: lambda: tls.getpeercert(True),
            attribute.server_side: lambda: tls.server_side,
            attribute.shared_ciphers: lambda: tls.shared_ciphers() if tls.server_side else None,
            attribute.ssl_object: lambda: tls,
            attribute.standard_compatible: lambda: False,
            attribute.tls_version: tls.version,
        }
        return {**self._below.extra_attributes, **attributes}

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._below.start(self)
        self._shake_hands()

    def pause_reading(self) -> None:
        self._paused = True
        if self._secured and not self._closing:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        self._decrypt()
        if not self._paused:
            self._below.resume_reading()

    def write(self, data: bytes, more: bytes = b"") -> None:
        if not data or self._eof_wanted or self._ended:
            return
        if self._secured:
            self._encrypt(data + more)
        else:
            self._plaintext += data + more
        if self._all_unsent:
            self._waiting = True

    def write_eof(self) -> None:
        if self._eof_wanted or self._ended:
            return
        self._eof_wanted = True
        if self._secured:
            self._close()

    def abort(self) -> None:
        self._aborted = True
        self._plaintext.clear()
        self._below.abort()

    # The calls of the transport below.

    def data_received(self, chunk: bytes | memoryview) -> None:
        if self._ended or self._closing or self._eof_received:
            return
        self._incoming.write(chunk)
        if not self._secured:
            self._shake_hands()
        if self._secured:
            self._decrypt()

    def eof_received(self) -> None:
        if self._ended or self._closing or self._eof_received:
            return
        if not self._secured:
            self._fail(TLSHandshakeError("the connection ended during the TLS handshake"))
        else:
            self._incoming.write_eof()
            self._decrypt()

    def writable(self) -> None:
        if self._failure is not None:
            self._below.abort()  # the alert has left
            return
        self._closed = self._closing
        self._answers = 0
        self._tell_writable()

    def output_lost(self, cause: Exception) -> None:
        if self._failure is not None:
            self._below.abort()
        # During the handshake there is nothing to save: connection_lost says it all.
        elif self._sink is not None and self._secured and not self._aborted:
            self._sink.output_lost(cause)

    def connection_lost(self, cause: Exception | None) -> None:
        if self._aborted:
            cause = None
        elif self._failure is not None:
            cause = self._failure
        elif isinstance(cause, TLSHandshakeError | ProxyError):
            pass  # of what is below, on the way to the server: there was no handshake here
        elif not self._secured and cause is not None:
            error = TLSHandshakeError(
                f"the connection broke during the TLS handshake: {text_of(cause)}"
            )
            error.__cause__ = cause
            cause = error
        elif self._closed:
            cause = None  # everything had left
        self._aborted = True
        self._plaintext.clear()
        if self._sink is not None:
            self._sink.connection_lost(cause)

    # Inside.

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send_below()
            return
        except ssl.SSLError as exc:
            error = TLSHandshakeError(f"the TLS handshake failed: {exc}")
            error.__cause__ = exc
            if isinstance(exc, ssl.SSLCertVerificationError):
                error.hosts = _hosts_of_peer(self._object)
            self._fail(error)
            return
        self._secured = True
        if self._plaintext:
            data = bytes(self._plaintext)
            self._plaintext.clear()
            self._encrypt(data)
            self._tell_writable()
        else:
            self._send_below()
        if self._eof_wanted:
            self._close()
        elif self._paused:
            self._below.pause_reading()

    @property
    def _all_unsent(self) -> int:
        return len(self._plaintext) + self._below.unsent

    def _tell_writable(self) -> None:
        if self._waiting and not self._all_unsent and not self._ended and self._sink is not None:
            self._waiting = False
            self._sink.writable()

    def _encrypt(self, data: bytes) -> None:
        try:
            self._object.write(data)  # all of it: the BIO takes any amount
        except ssl.SSLError as exc:
            self._fail(exc)
        else:
            self._send_below()

    def _decrypt(self) -> None:
        """Hand over what has arrived, until the sink has enough."""
        if self._decrypting or not self._secured or self._sink is None:
            return
        self._decrypting = True
        while not (self._paused or self._eof_received or self._closing or self._ended):
            chunk = self._read_records()
            if chunk:
                self._sink.data_received(chunk)
                if self._input_end is None and len(chunk) < len(self._buffer):
                    break  # that was all, for now
            elif self._input_end is None:
                break
            elif isinstance(self._input_end, ssl.SSLZeroReturnError | ssl.SSLEOFError):
                self._eof_received = True
                self._sink.eof_received()
            else:
                self._fail(self._input_end)
        self._decrypting = False
        if self._outgoing.pending and not self._ended:
            self._answer()

    def _read_records(self) -> memoryview:
        """Decrypt what has arrived, records together, up to a buffer full; the end is noted."""
        buffer, size = self._buffer, 0
        try:
            while self._input_end is None and size < len(buffer):
                got = cast("int", self._object.read(len(buffer) - size, buffer[size:]))
                size += got
                if not got:
                    self._input_end = ssl.SSLZeroReturnError()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            self._input_end = exc  # for after what came before it
        return buffer[:size]

    def _answer(self) -> None:
        """Send what TLS itself has to say to what was read: that it follows a key update, say."""
        if not self._below.unsent:
            self._answers = 0
        self._answers += self._outgoing.pending
        if self._answers > RECORD:
            self._fail(ConnectionError("the peer asks for TLS's answers, and takes none"))
        else:
            self._send_below()

    def _close(self) -> None:
        """Send close_notify, and read on below only to see the end."""
        self._closing = True
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # mostly that the peer hasn't sent its own
        self._send_below()
        self._closed = not self._below.unsent
        self._below.write_eof()
        self._below.resume_reading()

    def _send_below(self) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())

    def _fail(self, exc: Exception) -> None:
        """End the connection, after the alert that tells the peer.

        Only the handshake's waits until it has left: later much else may be waiting to leave before it.
        """
        self._failure = exc
        self._plaintext.clear()
        alert = self._outgoing.pending
        self._send_below()
        if self._secured or not (alert and self._below.unsent):
            self._below.abort()
