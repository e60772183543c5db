"""TLS as a filter, once the handshake is over: its records, its end. See `test_tls` for the handshake."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
import trustme
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .kinds import PATIENCE, TLS, Kind, of_kinds
from .peers import HandTLS
from .recorder import pattern, settle
from .test_tls import TLSLink, client, copy_of, over_each, running, server


@asynccontextmanager
async def talking(
    kind: Kind, tls: TLS, *, server_side: bool = False
) -> AsyncIterator[tuple[TLSLink, HandTLS]]:
    """Run our TLS, and exchange a byte with a peer that does by hand what else is to be done."""
    engine = server(tls.server) if server_side else client(tls.client)
    async with running(kind.connect, tls, engine) as link:
        context = tls.of(server_side=not server_side)
        peer = HandTLS(link.peer, context, server_side=not server_side)
        await peer.shake_hands()
        link.transport.write(b"x")
        assert await peer.receive() == b"x"
        await settle()
        link.sink.calls.clear()
        yield link, peer


class TestEnd:
    @over_each
    async def test_the_goodbye_is_sent_and_its_answer_not_waited_for(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with talking(kind, tls) as (link, peer):
            link.transport.write(b"bye")
            link.transport.write_eof()
            assert await peer.receive() == b"bye"
            assert await peer.receive() == b""  # close_notify
            assert await peer.below.receive() == b""  # and the end of the stream below
            await peer.below.send_eof()
            await link.lost()
        assert link.sink.cause is None
        assert "eof" not in link.sink.calls

    @over_each
    async def test_the_peers_goodbye_is_the_end_of_its_input_and_not_of_ours(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with talking(kind, tls) as (link, peer):
            await peer.send(b"bye")
            await peer.say_goodbye()
            await link.called("eof")
            assert link.sink.received == b"bye"
            await settle()
            assert not link.sink.lost
            link.transport.write(b"wait, ")
            link.transport.write(b"bye")
            link.transport.write_eof()
            await link.peer_receives_all()
            await peer.below.send_eof()
            await link.lost()
        assert link.sink.cause is None

    @over_each
    @pytest.mark.parametrize(
        "rest", [b"", b"\x17", b"\x17\x03\x03\x00\x50", b"\x17\x03\x03\x00\x50abc"]
    )
    async def test_an_end_without_a_goodbye_is_an_end_even_within_a_record(
        self, kind: Kind, tls: TLS, rest: bytes
    ) -> None:
        async with talking(kind, tls) as (link, peer):
            await peer.send(b"bye")
            await peer.below.send(rest)
            await peer.below.send_eof()
            await link.called("eof")
            assert link.sink.received == b"bye"
            link.transport.write_eof()
            await link.peer_receives_all()
            await link.lost()
        assert link.sink.cause is None

    @over_each
    async def test_what_follows_the_peers_goodbye_is_dropped(self, kind: Kind, tls: TLS) -> None:
        async with talking(kind, tls) as (link, peer):
            await peer.say_goodbye()
            await link.called("eof")
            for _ in range(10):
                await peer.below.send(bytes(10_000))
            await settle()
            assert link.engine.incoming.pending == 0
            link.transport.write_eof()
            await peer.below.send_eof()
            await link.peer_receives_all()
            await link.lost()
        assert link.sink.cause is None

    @over_each
    async def test_a_goodbye_that_waits_in_a_pause_comes_after_the_data(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with talking(kind, tls) as (link, peer), anyio.create_task_group() as tasks:
            link.transport.pause_reading()
            peer.object.write(pattern(40_000))
            with pytest.raises(ssl.SSLError):
                peer.object.unwrap()
            tasks.start_soon(peer.flush)
            await settle()
            link.sink.on_data = lambda chunk: link.transport.pause_reading()
            while "eof" not in link.sink.calls:
                link.transport.resume_reading()
                await link.sink.until(lambda: link.sink.paused or "eof" in link.sink.calls)
                await settle()
            assert link.sink.received == pattern(40_000)
            link.transport.abort()

    @over_each
    @pytest.mark.parametrize(
        "record", [b"not a record", b"\x17\x03\x03\x00\x20" + bytes(32)], ids=["garbage", "forged"]
    )
    async def test_a_record_that_is_wrong_breaks_the_connection(
        self, kind: Kind, tls: TLS, record: bytes
    ) -> None:
        async with talking(kind, tls) as (link, peer):
            await peer.send(b"good")
            await peer.below.send(record)
            await link.lost()
        assert link.sink.received == b"good"
        assert isinstance(link.sink.cause, ssl.SSLError)
        assert link.sink.calls[-1] == "lost"
        assert "eof" not in link.sink.calls

    @over_each
    async def test_a_record_that_is_wrong_comes_after_a_pause_that_the_data_before_it_made(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with talking(kind, tls) as (link, peer), anyio.create_task_group() as tasks:
            link.transport.pause_reading()
            link.sink.on_data = lambda chunk: link.transport.pause_reading()
            peer.object.write(b"good")
            tasks.start_soon(peer.below.send, peer.outgoing.read() + b"not a record")
            await settle()
            link.transport.resume_reading()
            await link.sink.until(lambda: link.sink.received == b"good")
            await settle()
            assert "lost" not in link.sink.calls
            link.transport.resume_reading()
            await link.lost()
        assert isinstance(link.sink.cause, ssl.SSLError)


class TestRecordsOfTheHandshake:
    """Those that come after it (RFC 8446, section 4.6)."""

    @over_each
    @pytest.mark.parametrize("server_side", [False, True])
    async def test_session_tickets_disturb_nothing(
        self, kind: Kind, ca: trustme.CA, server_side: bool
    ) -> None:
        own = copy_of(ca)
        own.server.num_tickets = 20
        async with talking(kind, own, server_side=server_side) as (link, peer):
            await peer.send(b"hello")
            assert await link.received(5) == b"hello"
            assert set(link.sink.calls) == {"data"}
            link.transport.abort()

    @over_each
    async def test_a_certificate_that_was_wanted_and_is_missing_is_told_later(
        self, kind: Kind, ca: trustme.CA
    ) -> None:
        own = copy_of(ca)
        own.server.verify_mode = ssl.CERT_REQUIRED
        async with running(kind.connect, own, client(own.client)) as link:
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
                await HandTLS(link.peer, own.server, server_side=True).shake_hands()
            await link.lost()
        assert isinstance(link.sink.cause, ssl.SSLError)
        assert "CERTIFICATE_REQUIRED" in str(link.sink.cause)

    @over_each
    async def test_a_key_update_is_followed_and_answered(
        self, kind: Kind, ca: trustme.CA, tmp_path: Path
    ) -> None:
        async with known_keys(kind, ca, tmp_path) as (link, peer, ours, theirs):
            await peer.below.send(theirs.sealed(DATA, b"old key"))
            await peer.below.send(theirs.sealed(HANDSHAKE, KEY_UPDATE_REQUESTED))
            theirs.update()
            await peer.below.send(theirs.sealed(DATA, b", new key"))
            assert await link.received(16) == b"old key, new key"

            link.transport.write(b"hello")
            assert ours.opened(await record(peer)) == (HANDSHAKE, KEY_UPDATE)
            ours.update()
            assert ours.opened(await record(peer)) == (DATA, b"hello")
            link.transport.abort()

    @over_each
    async def test_many_key_updates_whose_answers_are_taken_do_no_harm(
        self, kind: Kind, ca: trustme.CA, tmp_path: Path
    ) -> None:
        async with known_keys(kind, ca, tmp_path) as (link, peer, ours, theirs):
            for number in range(1000):
                await peer.below.send(theirs.sealed(HANDSHAKE, KEY_UPDATE_REQUESTED))
                theirs.update()
                if number:  # OpenSSL answers at the next occasion
                    assert ours.opened(await record(peer)) == (HANDSHAKE, KEY_UPDATE)
                    ours.update()
            link.transport.abort()

    @of_kinds(lambda kind: kind.name == "lockstep")
    async def test_a_peer_that_takes_no_answers_to_many_key_updates_is_left(
        self, kind: Kind, ca: trustme.CA, tmp_path: Path
    ) -> None:
        async with known_keys(kind, ca, tmp_path) as (link, peer, _, theirs):
            for _ in range(1000):
                if link.sink.lost:
                    break
                with suppress(anyio.BrokenResourceError):
                    await peer.below.send(theirs.sealed(HANDSHAKE, KEY_UPDATE_REQUESTED))
                theirs.update()
        assert isinstance(link.sink.cause, ConnectionError)


@asynccontextmanager
async def known_keys(
    kind: Kind, ca: trustme.CA, path: Path
) -> AsyncIterator[tuple[TLSLink, HandTLS, Traffic, Traffic]]:
    """Run our TLS as a client, its peer by hand, and give the keys: ours, and the peer's."""
    own = copy_of(ca)
    own.server.num_tickets = 0
    own.server.keylog_filename = str(path / "keys")
    async with running(kind.connect, own, client(own.client)) as link:
        peer = HandTLS(link.peer, own.server, server_side=True)
        await peer.shake_hands()
        setattr(own.server, "keylog_filename", None)  # noqa: B010  # typeshed forgot that it closes
        cipher = peer.object.cipher()
        assert cipher is not None
        ours, theirs = (Traffic(side, path / "keys", cipher[0]) for side in ("CLIENT", "SERVER"))
        yield link, peer, ours, theirs


HANDSHAKE, DATA = 22, 23  # RFC 8446, section 5.1
KEY_UPDATE, KEY_UPDATE_REQUESTED = b"\x18\0\0\1\0", b"\x18\0\0\1\1"  # section 4.6.3


async def record(peer: HandTLS) -> bytes:
    """Receive one record."""
    with anyio.fail_after(PATIENCE):
        while peer.incoming.pending < 5:
            await peer.feed()
        header = peer.incoming.read(5)
        while peer.incoming.pending < int.from_bytes(header[3:]):
            await peer.feed()
    return header + peer.incoming.read(int.from_bytes(header[3:]))


class Traffic:
    """The keys of one direction of a TLS 1.3 connection (RFC 8446, section 7)."""

    def __init__(self, side: str, keys: Path, cipher: str) -> None:
        lines = [line.split() for line in keys.read_text().splitlines()]
        (secret,) = (line[2] for line in lines if line[0] == f"{side}_TRAFFIC_SECRET_0")
        self._hash, self._size = (
            (hashlib.sha384, 32) if cipher == "TLS_AES_256_GCM_SHA384" else (hashlib.sha256, 16)
        )
        assert "AES" in cipher
        self._set(bytes.fromhex(secret))

    def update(self) -> None:
        self._set(self._expanded(b"traffic upd", self._hash().digest_size))

    def sealed(self, kind: int, content: bytes) -> bytes:
        header = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2)
        return header + self._cipher.encrypt(self._nonce(), content + bytes([kind]), header)

    def opened(self, sealed: bytes) -> tuple[int, bytes]:
        content = self._cipher.decrypt(self._nonce(), sealed[5:], sealed[:5])
        return content[-1], content[:-1]

    def _set(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expanded(b"key", self._size))
        self._iv = int.from_bytes(self._expanded(b"iv", 12))
        self._number = 0

    def _nonce(self) -> bytes:
        self._number += 1
        return (self._iv ^ (self._number - 1)).to_bytes(12)

    def _expanded(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label, for what fits into one block."""
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes([len(label)]) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", self._hash)[:size]
