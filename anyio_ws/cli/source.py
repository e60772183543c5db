"""The messages that a user types, or that come out of a pipe or a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ["BadInput", "Source", "as_message"]

ReadSome = Callable[[], Awaitable[bytes]]


class BadInput(Exception):
    """Something was typed that can't be sent; says why."""


def as_message(line: bytes, *, binary: bool = False, hexadecimal: bool = False) -> str | bytes:
    """Make a message of a line.

    :raises BadInput: it isn't of the kind that is wanted
    """
    if binary:
        return line
    try:
        text = line.decode()
    except UnicodeDecodeError:
        if hexadecimal:
            raise BadInput("these aren't hexadecimal digits") from None
        raise BadInput("this isn't UTF-8, as text must be; --binary sends any bytes") from None
    if not hexadecimal:
        return text
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise BadInput("these aren't hexadecimal digits") from None


class Source:
    """Lines of what *read* gives, piece by piece; b"" is its end.

    A line ends with a line break, of which a carriage return is a part, or with a zero byte. What is
    left at the end is a line, too.
    """

    def __init__(self, read: ReadSome, *, null: bool = False) -> None:
        self._read = read
        self._null = null
        self._pieces: list[bytes] = []  # of a line whose end hasn't come
        self._lines: list[bytes] = []  # the next is the last of the list
        self._at_end = False

    async def next_line(self) -> bytes | None:
        """Wait for the next line; None at the end, and ever after. Cancelling it loses nothing.

        :raises OSError: it can't be read
        """
        while not self._lines:
            if self._at_end:
                return None
            self._take(await self._read())
        return self._lines.pop()

    def _take(self, piece: bytes) -> None:
        if not piece:
            self._at_end = True
            if rest := b"".join(self._pieces):
                self._lines = [rest]
            return
        head, separator, rest = piece.partition(b"\0" if self._null else b"\n")
        self._pieces.append(head)
        if not separator:
            return
        lines = [b"".join(self._pieces), *rest.split(separator)]
        self._pieces = [lines.pop()]
        if not self._null:
            lines = [line.removesuffix(b"\r") for line in lines]
        self._lines = lines[::-1]
