"""A message that is sent on many connections: encoded once for all those that would encode it alike.

It keeps what it was encoded to, by what that depends on; `Protocol.send_prepared` knows which of these a
connection may send. Nothing here belongs to a connection.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, cast

from .extensions.base import Extension
from .frames import MAX_FRAME, BytesLike, Frame, Opcode

__all__ = ["PreparedMessage"]

AS_IT_IS: Final = ()
"""The setting of those who don't transform it."""


class PreparedMessage:
    """A message for `broadcast`, or `WebSocket.send`, that is sent more than once.

    It is encoded and compressed when somebody first needs that, once for all connections with the same
    settings, and never changes.

    :param message: `str` as text, bytes-like as binary
    :param compress: whether to compress it where compression was negotiated; see `WebSocket.send`
    :raises TypeError: *message* is neither
    """

    __slots__ = ("_frames", "_whole", "_written", "compress", "data", "opcode", "plain")

    def __init__(self, message: str | BytesLike, *, compress: bool = True) -> None:
        self.opcode: Final = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        """TEXT or BINARY."""
        self.data: Final = _as_bytes(message)
        """The payload; a text in UTF-8."""
        self.plain: bytes | None = None
        """The one frame that a server without extensions sends, once it is known."""
        self.compress: Final = compress
        """Whether it may be compressed."""
        self._whole = Frame(self.opcode, self.data)
        self._frames: dict[Hashable, tuple[Frame, ...]] = {}
        self._written: dict[Hashable, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"<PreparedMessage {self.opcode.name} {len(self.data)} bytes>"

    def setting(self, extension: Extension | None) -> Hashable | None:
        """What decides how it is encoded for a connection with *extension*; None: what only that knows."""
        if extension is None:
            return AS_IT_IS
        return extension.setting(self._whole, compress=self.compress)

    def parts(self) -> list[Frame]:
        """The frames of it before any extension; several if it is very long, so that a Ping can pass."""
        return _cut(self._whole)

    def frames(self, setting: Hashable, extension: Extension | None) -> tuple[Frame, ...]:
        """The same as encoded for connections with *setting*, of which *extension* is one's."""
        frames = self._frames.get(setting)
        if frames is None:
            frames = self._frames[setting] = self._encode(setting, extension)
        return frames

    def written(self, setting: Hashable, extension: Extension | None) -> tuple[bytes, ...]:
        """The same in bytes, as a server sends them: not masked."""
        written = self._written.get(setting)
        if written is None:
            frames = self._encode(setting, extension)
            written = self._written[setting] = tuple(frame.serialize() for frame in frames)
            if setting == AS_IT_IS and len(written) == 1:
                self.plain = written[0]
        return written

    def _encode(self, setting: Hashable, extension: Extension | None) -> tuple[Frame, ...]:
        whole = self._whole
        if setting != AS_IT_IS and extension is not None:
            whole = extension.encode_alone(whole)
        return tuple(_cut(whole))


def _cut(whole: Frame) -> list[Frame]:
    size = len(whole.data)
    if size <= MAX_FRAME:
        return [whole]
    view = memoryview(whole.data)
    frames = [
        Frame(Opcode.CONT, bytes(view[start : start + MAX_FRAME]), start + MAX_FRAME >= size)
        for start in range(0, size, MAX_FRAME)
    ]
    frames[0] = frames[0]._replace(opcode=whole.opcode, rsv1=whole.rsv1)
    return frames


def _as_bytes(message: object) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes):
        return message
    if isinstance(message, bytearray | memoryview):
        return bytes(cast("bytearray | memoryview[int]", message))
    raise TypeError(f"str or bytes-like expected, not {type(message).__name__}")
