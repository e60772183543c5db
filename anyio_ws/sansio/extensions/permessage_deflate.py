"""Compression of messages: the extension permessage-deflate (RFC 7692).

What zlib needs is made when the first message is compressed, in either direction, and dropped after
each message where context takeover was negotiated away. Memory, for windows of ``2**bits`` bytes:
``2**(bits + 2) + 2**(mem_level + 9)`` to compress, ``2**bits`` and some 7 KiB to inflate.

What was compressed and not sent must not be referred to by what follows: a compressor that was
interrupted is dropped, and the next message has a new one. The peer needn't know.

A message that is sent on many connections is compressed by a compressor of its own: whatever else is in a
peer's window, it refers only to itself. After it a connection's own compressor doesn't know any more how far
back in that window its earlier messages are, and is dropped as well.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from ...exceptions import NegotiationError, ProtocolViolation
from ..frames import CloseCode, Frame, Opcode
from .base import ClientExtensionFactory, Extension, ExtensionParameter, ServerExtensionFactory
from .inflate import TAIL, Inflater

if TYPE_CHECKING:
    from zlib import _Compress  # pyright: ignore[reportPrivateUsage]  # it has no public name

__all__ = [
    "ClientPerMessageDeflateFactory",
    "PerMessageDeflate",
    "ServerPerMessageDeflateFactory",
]

NAME: Final = "permessage-deflate"

# The defaults: docs/limits.rst has the measurements.

WINDOW_BITS: Final = 12

MEM_LEVEL: Final = 5

THRESHOLD: Final = 64
"""Bytes: below that a frame is mostly header, in the system call and in the packet."""

EMPTY_BLOCK: Final = b"\x00"
"""With `TAIL` a stored block without content: how an empty message is sent (section 7.2.3.6)."""

UNCOMPRESSIBLE_BITS: Final = 8
"""A window that RFC 7692 allows and that zlib can't compress for: our messages go uncompressed."""


class PerMessageDeflate(Extension):
    """As negotiated for one connection: see the factories."""

    name = NAME
    rsv = 0x40
    in_parts = True

    def __init__(
        self,
        *,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
        level: int = zlib.Z_DEFAULT_COMPRESSION,
        mem_level: int = MEM_LEVEL,
        threshold: int = THRESHOLD,
    ) -> None:
        """For the factories; *remote* is what the peer compresses with, *local* what this side does."""
        self.remote_no_context_takeover: Final = remote_no_context_takeover
        self.local_no_context_takeover: Final = local_no_context_takeover
        self.remote_max_window_bits: Final = remote_max_window_bits
        self.local_max_window_bits: Final = local_max_window_bits
        self._level = level
        self._mem_level = mem_level
        self._threshold = threshold
        self._deflater: _Compress | None = None
        self._inflater = Inflater(remote_max_window_bits, single=remote_no_context_takeover)
        self._encoding = False  # the message that is being sent is compressed
        self._decoding = False  # the message that arrives is
        self._mid_frame = False  # a frame arrives in parts

    def __repr__(self) -> str:
        return (
            f"PerMessageDeflate(remote_no_context_takeover={self.remote_no_context_takeover}, "
            f"local_no_context_takeover={self.local_no_context_takeover}, "
            f"remote_max_window_bits={self.remote_max_window_bits}, "
            f"local_max_window_bits={self.local_max_window_bits})"
        )

    def check_header(self, opcode: Opcode, rsv: int) -> None:
        if opcode is Opcode.CONT and rsv & self.rsv:  # RFC 7692, section 6.1
            raise ProtocolViolation(
                CloseCode.PROTOCOL_ERROR, "RSV1 set on a continuation frame; the first frame has it"
            )

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        first = frame.opcode is not Opcode.CONT
        if first:
            self._encoding = self._is_to_be_compressed(frame, compress)
        if not self._encoding:
            return frame
        deflater, self._deflater = self._deflater, None  # so that it's gone if this is interrupted
        if deflater is None:
            deflater = self._new_deflater()
        data = _deflate(deflater, frame)
        if not (frame.fin and self.local_no_context_takeover):
            self._deflater = deflater
        return frame._replace(data=data, rsv1=first)

    def forget_encoded(self) -> None:
        self._deflater = None

    def setting(self, frame: Frame, *, compress: bool) -> Hashable | None:
        if type(self).encode is not PerMessageDeflate.encode:
            return None  # somebody's own, which may do anything
        if not self._is_to_be_compressed(frame, compress):
            return ()
        return NAME, self.local_max_window_bits, self._level, self._mem_level

    def encode_alone(self, frame: Frame) -> Frame:
        return frame._replace(data=_deflate(self._new_deflater(), frame), rsv1=True)

    def _is_to_be_compressed(self, frame: Frame, compress: bool) -> bool:
        return (
            compress
            and self.local_max_window_bits > UNCOMPRESSIBLE_BITS
            and (not frame.fin or len(frame.data) >= self._threshold)
        )

    def _new_deflater(self) -> _Compress:
        return zlib.compressobj(
            self._level, zlib.DEFLATED, -self.local_max_window_bits, self._mem_level
        )

    def decode_part(self, opcode: Opcode, rsv: int, data: bytes, *, max_size: int | None) -> None:
        if not self._mid_frame:
            self._begin_frame(opcode, rsv & self.rsv != 0)
            self._mid_frame = True
        self._inflater.feed(data, max_size)

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        if not self._mid_frame:
            self._begin_frame(frame.opcode, frame.rsv1)
        self._mid_frame = False
        if not self._decoding:
            return frame
        self._inflater.feed(frame.data, max_size)
        if frame.fin:
            self._inflater.end_message(max_size)
        return frame._replace(data=self._inflater.end_frame(), rsv1=False)

    def _begin_frame(self, opcode: Opcode, rsv1: bool) -> None:
        if opcode is not Opcode.CONT:
            self._decoding = rsv1


def _deflate(deflater: _Compress, frame: Frame) -> bytes:
    data = deflater.compress(frame.data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    if not frame.fin:
        return data
    # zlib flushes nothing a second time, when nothing came in between.
    return data[: -len(TAIL)] if data else EMPTY_BLOCK


# Negotiation (RFC 7692, section 7.1)


class _Parameters:
    """The parameters of an offer or an answer, by name; None where there are none."""

    def __init__(self, params: Sequence[ExtensionParameter], *, is_answer: bool) -> None:
        """
        :raises NegotiationError: one is unknown, repeated, or has a value that it can't have
        """
        self.server_no_context_takeover = False
        self.client_no_context_takeover = False
        self.server_max_window_bits: int | None = None
        self.client_max_window_bits: int | None = None  # of an offer that names no number: 15
        seen: set[str] = set()
        for name, value in params:
            if name in seen:
                raise NegotiationError(f"{NAME}: parameter {name} is repeated")
            seen.add(name)
            if name in ("server_no_context_takeover", "client_no_context_takeover"):
                if value is not None:
                    raise NegotiationError(f"{NAME}: {name} has a value, {value!r}")
                setattr(self, name, True)
            elif name == "client_max_window_bits" and value is None and not is_answer:
                self.client_max_window_bits = 15
            elif name in ("server_max_window_bits", "client_max_window_bits"):
                setattr(self, name, _window_bits(name, value))
            else:
                raise NegotiationError(f"{NAME}: unknown parameter {name}")


def _window_bits(name: str, value: str | None) -> int:
    if value not in ("8", "9", "10", "11", "12", "13", "14", "15"):
        shown = "no value" if value is None else f"{value!r}"
        raise NegotiationError(f"{NAME}: {name} is a number from 8 to 15, not {shown}")
    return int(value)


class _Settings(TypedDict):
    """What a factory passes on to the extension."""

    level: int
    mem_level: int
    threshold: int


def _settings(
    level: int, mem_level: int, threshold: int, window_bits: Sequence[int | None]
) -> _Settings:
    for bits in window_bits:
        if bits is not None:
            _check_number("window bits", bits, 8, 15)
    _check_number("level", level, -1, 9)
    _check_number("mem_level", mem_level, 1, 9)
    _check_number("threshold", threshold, 0)
    return {"level": level, "mem_level": mem_level, "threshold": threshold}


def _check_number(what: str, number: object, least: int, most: float = math.inf) -> None:
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return
    raise ValueError(f"{what} must be a number from {least} to {most}, not {number!r}")


class ClientPerMessageDeflateFactory(ClientExtensionFactory):
    """Offers compression to a server.

    :param server_no_context_takeover: ask the server to compress each message by itself, which saves this
        side memory and costs compression
    :param client_no_context_takeover: tell the server that this side will
    :param server_max_window_bits: ask the server for windows of at most ``2**bits`` bytes, 8 to 15
    :param client_max_window_bits: the same for this side; True lets the server choose, None doesn't. zlib
        can't compress with 8: messages go uncompressed if the server insists on that
    :param level: zlib's, from 0 (none) to 9 (best); -1 for zlib's default
    :param mem_level: zlib's, from 1 (least memory) to 9
    :param threshold: bytes below which a message isn't compressed
    :raises ValueError: a number is out of its range
    """

    name = NAME

    def __init__(
        self,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | Literal[True] | None = WINDOW_BITS,
        level: int = zlib.Z_DEFAULT_COMPRESSION,
        mem_level: int = MEM_LEVEL,
        threshold: int = THRESHOLD,
    ) -> None:
        client_bits = None if client_max_window_bits is True else client_max_window_bits
        self._settings = _settings(
            level, mem_level, threshold, (server_max_window_bits, client_bits)
        )
        self._server_no_context_takeover = server_no_context_takeover
        self._client_no_context_takeover = client_no_context_takeover
        self._server_max_window_bits = server_max_window_bits
        self._client_max_window_bits = client_max_window_bits

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        params: list[ExtensionParameter] = []
        if self._server_no_context_takeover:
            params.append(("server_no_context_takeover", None))
        if self._client_no_context_takeover:
            params.append(("client_no_context_takeover", None))
        if self._server_max_window_bits is not None:
            params.append(("server_max_window_bits", str(self._server_max_window_bits)))
        if self._client_max_window_bits is True:
            params.append(("client_max_window_bits", None))
        elif self._client_max_window_bits is not None:
            params.append(("client_max_window_bits", str(self._client_max_window_bits)))
        return params

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        _refuse_twice(accepted_extensions)
        answer = _Parameters(params, is_answer=True)
        if self._server_no_context_takeover and not answer.server_no_context_takeover:
            raise NegotiationError(f"{NAME}: the server didn't grant server_no_context_takeover")
        server_bits = answer.server_max_window_bits
        wanted = self._server_max_window_bits
        if wanted is not None and (server_bits is None or server_bits > wanted):
            raise NegotiationError(
                f"{NAME}: the server didn't grant server_max_window_bits={wanted}"
            )
        offered = self._client_max_window_bits
        client_bits = answer.client_max_window_bits
        if client_bits is not None and offered is None:
            raise NegotiationError(f"{NAME}: client_max_window_bits wasn't offered")
        if offered is not True:
            # A promise of ours, and only a hint for the server, which may ignore it and allow more
            # (section 7.1.2.2).
            client_bits = _least(client_bits, offered)
        return PerMessageDeflate(
            remote_no_context_takeover=answer.server_no_context_takeover,
            local_no_context_takeover=(
                answer.client_no_context_takeover or self._client_no_context_takeover
            ),
            remote_max_window_bits=server_bits or 15,
            local_max_window_bits=client_bits or 15,
            **self._settings,
        )


class ServerPerMessageDeflateFactory(ServerExtensionFactory):
    """Accepts compression that a client offers.

    :param server_no_context_takeover: compress each message by itself, which saves this side memory between
        messages and costs compression
    :param client_no_context_takeover: make the client do so
    :param server_max_window_bits: compress with windows of at most ``2**bits`` bytes, 8 to 15. zlib can't
        compress with 8: messages go uncompressed if the client insists on that
    :param client_max_window_bits: make the client do so, if it lets us choose
    :param level: zlib's, from 0 (none) to 9 (best); -1 for zlib's default
    :param mem_level: zlib's, from 1 (least memory) to 9
    :param threshold: bytes below which a message isn't compressed
    :raises ValueError: a number is out of its range
    """

    name = NAME

    def __init__(
        self,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = WINDOW_BITS,
        client_max_window_bits: int | None = WINDOW_BITS,
        level: int = zlib.Z_DEFAULT_COMPRESSION,
        mem_level: int = MEM_LEVEL,
        threshold: int = THRESHOLD,
    ) -> None:
        self._settings = _settings(
            level, mem_level, threshold, (server_max_window_bits, client_max_window_bits)
        )
        self._server_no_context_takeover = server_no_context_takeover
        self._client_no_context_takeover = client_no_context_takeover
        self._server_max_window_bits = server_max_window_bits
        self._client_max_window_bits = client_max_window_bits

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[Sequence[ExtensionParameter], Extension]:
        _refuse_twice(accepted_extensions)
        offer = _Parameters(params, is_answer=False)
        answer: list[ExtensionParameter] = []
        server_alone = offer.server_no_context_takeover or self._server_no_context_takeover
        client_alone = offer.client_no_context_takeover or self._client_no_context_takeover
        server_bits = _least(offer.server_max_window_bits, self._server_max_window_bits)
        client_bits = offer.client_max_window_bits
        if client_bits is not None:  # only then may the answer name it (section 7.1.2.2)
            client_bits = _least(client_bits, self._client_max_window_bits)
        if server_alone:
            answer.append(("server_no_context_takeover", None))
        if client_alone:
            answer.append(("client_no_context_takeover", None))
        if server_bits is not None:
            answer.append(("server_max_window_bits", str(server_bits)))
        if client_bits is not None and client_bits < 15:
            answer.append(("client_max_window_bits", str(client_bits)))
        return answer, PerMessageDeflate(
            remote_no_context_takeover=client_alone,
            local_no_context_takeover=server_alone,
            remote_max_window_bits=client_bits or 15,
            local_max_window_bits=server_bits or 15,
            **self._settings,
        )


def _refuse_twice(accepted: Sequence[Extension]) -> None:
    if any(extension.rsv & PerMessageDeflate.rsv for extension in accepted):
        raise NegotiationError(f"{NAME}: another extension has RSV1 already")


def _least(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
