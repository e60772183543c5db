"""What was received and not yet taken: finished messages, and the one in assembly at their end.

Plain data, no waiting. Fragments keep their boundaries while they are few; a message of very many
small ones is held joined, so that what each costs beyond its payload stays bounded (boundaries have
no meaning, RFC 6455, section 5.4). What those that are kept cost is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeVar, cast

from .sansio import Fragment, Frame

__all__ = ["Inbox"]

_Item = TypeVar("_Item")

SEPARATE: Final = 64
"""Fragments of a message that are kept apart; further ones are joined while they are small."""

SMALL: Final = 1024
"""Characters or bytes below which a fragment is joined to the one before."""

FRAGMENTED: Final = 1024
"""Bytes that a message in fragments is charged beyond their own, for the objects that carry it."""

FRAGMENT: Final = 64
"""The same for each fragment that is kept apart."""

WIDEST: Final = 4
"""Bytes that a character takes, in UTF-8 or in memory, at most."""


class _Fragments:
    """A fragmented message: what is here of it, and whether that is all."""

    __slots__ = ("complete", "pieces", "size")

    def __init__(self) -> None:
        # With Pings and Pongs that came in between, if somebody wants to see them there.
        self.pieces: deque[str | bytes | Frame] = deque()
        self.size = FRAGMENTED
        self.complete = False

    def add(self, data: str | bytes) -> None:
        if len(self.pieces) >= SEPARATE and len(data) < SMALL:
            last = self.pieces[-1]
            if not isinstance(last, Frame) and len(last) < SMALL:
                self.pieces.pop()
                self.size -= _size(last) + FRAGMENT
                data = _join([last, data])
        self.size += _size(data) + FRAGMENT
        self.pieces.append(data)

    def joined(self) -> str | bytes:
        return _join([piece for piece in self.pieces if not isinstance(piece, Frame)])


class Inbox:
    """The messages of one connection that wait for the application."""

    __slots__ = ("_assembling", "_messages", "_skipping", "count", "received", "size")

    def __init__(self) -> None:
        self._messages: deque[str | bytes | Frame | _Fragments] = deque()
        self._assembling: _Fragments | None = None
        self._skipping = False  # the rest of the message in assembly is not wanted
        self.count: int = 0
        """Finished messages."""
        self.size: int = 0
        """Their bytes, on the wire or in memory, whichever is more; an estimate for text beyond ASCII."""
        self.received: int = 0
        """Messages that were ever finished, those that nobody wants too."""

    def add(self, message: str | bytes) -> None:
        """Add a message that came in one frame."""
        self._messages.append(message)
        self.count += 1
        self.received += 1
        self.size += _size(message)

    def add_all(self, messages: Sequence[str | bytes]) -> None:
        """As `add`, for many: a chunk may have hundreds."""
        self._messages.extend(messages)
        self.count += len(messages)
        self.received += len(messages)
        self.size += sum(map(_size, messages))

    def add_control(self, frame: Frame, *, between_fragments: bool) -> None:
        """Add a Ping or Pong, for whoever wants to see them in their place.

        In the middle of a fragmented message that is before it: the message isn't there yet. Or between its
        fragments, for who takes it part by part.
        """
        if self._assembling is None:
            self._messages.append(frame)
        elif between_fragments:
            self._assembling.pieces.append(frame)
        else:
            self._messages[-1] = frame
            self._messages.append(self._assembling)
        self.count += 1
        self.size += len(frame.data)

    def add_fragment(self, fragment: Fragment) -> None:
        """Add a part of the message in assembly."""
        self.received += fragment.final
        if self._skipping:
            self._skipping = not fragment.final
            return
        if self._assembling is None:
            self._assembling = _Fragments()
            self._messages.append(self._assembling)
        self._assembling.add(fragment.data)
        if fragment.final:
            self._assembling.complete = True
            self.count += 1
            self.size += self._assembling.size
            self._assembling = None

    def skip_fragment(self, fragment: Fragment) -> None:
        """Drop a part of the message in assembly, and the rest of it when that comes."""
        self.received += fragment.final
        self._skipping = not fragment.final

    def first(self) -> str | bytes | Frame:
        """Return the first message, whole, and leave it where it is; only if `count` isn't 0."""
        message = self._messages[0]
        return message.joined() if isinstance(message, _Fragments) else message

    def take(self) -> str | bytes:
        """Remove the first message, whole; only if `count` isn't 0."""
        message = self._messages.popleft()
        self.count -= 1
        if isinstance(message, bytes):  # nearly all are that or text: no call for them
            self.size -= len(message)
            return message
        if isinstance(message, _Fragments):
            self.size -= message.size
            return message.joined()
        if isinstance(message, Frame):
            self.size -= len(message.data)
            return message.data
        self.size -= _size(message)
        return message

    def first_part(self) -> Fragment | Frame | None:
        """Return a fragment of the first message, or a Ping or Pong, if that comes first.

        Leaves it where it is; None if there's nothing. A message that isn't fragmented is one fragment.
        """
        if not self._messages:
            return None
        message = self._messages[0]
        if isinstance(message, Frame):
            return message
        if not isinstance(message, _Fragments):
            return Fragment(message, final=True)
        if not message.pieces:
            return None
        piece = message.pieces[0]
        if isinstance(piece, Frame):
            return piece
        return Fragment(piece, final=message.complete and len(message.pieces) == 1)

    def take_part(self) -> None:
        """Remove what `first_part` gives."""
        message = self._messages[0]
        if not isinstance(message, _Fragments):
            self.take()
            return
        piece = message.pieces.popleft()
        if isinstance(piece, Frame):
            self.count -= 1
            self.size -= len(piece.data)
            return
        size = _size(piece) + FRAGMENT
        message.size -= size
        if message.complete:
            self.size -= size
            if not message.pieces:
                self._messages.popleft()
                self.count -= 1
                self.size -= message.size

    def skip(self) -> None:
        """Drop the rest of the first message, also what has yet to arrive of it."""
        if self._messages and isinstance(self._messages[0], _Fragments):
            message = self._messages[0]
            if message.complete:
                self.take()
            else:
                self._messages.popleft()
                self._assembling = None
                self._skipping = True

    def drop_controls(self) -> None:
        """Drop the Pings and Pongs."""
        self._drop_controls(self._messages)
        for message in self._messages:
            if isinstance(message, _Fragments):
                self._drop_controls(message.pieces)

    def _drop_controls(self, items: deque[_Item]) -> None:
        for frame in [one for one in items if isinstance(one, Frame)]:
            items.remove(cast("_Item", frame))
            self.count -= 1
            self.size -= len(frame.data)

    def clear(self) -> None:
        """Drop everything."""
        self._messages.clear()
        if self._assembling is not None:
            self._assembling = None
            self._skipping = True
        self.count = self.size = 0


def _size(data: str | bytes) -> int:
    """The bytes of *data*, found without looking at each character."""
    return len(data) if isinstance(data, bytes) or data.isascii() else WIDEST * len(data)


def _join(pieces: list[str | bytes]) -> str | bytes:
    if isinstance(pieces[0], str):
        return "".join(cast("list[str]", pieces))
    return b"".join(cast("list[bytes]", pieces))
