"""Who may connect: what a server's options say about that, checked once, and asked of each request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar, cast

__all__ = ["acceptable_origins"]

_T = TypeVar("_T")
_Origin = str | re.Pattern[str] | None


def acceptable_origins(origins: Iterable[_Origin]) -> tuple[_Origin, ...]:
    """Check what is given as `ServerConfig.origins`; who compares an Origin with them is the protocol.

    :raises TypeError: they aren't strings, patterns of strings and None
    """
    made = _several("origins", origins)
    for one in made:
        if one is not None:
            _check_text("origins", one)
    return made


def _several(name: str, given: Iterable[_T]) -> tuple[_T, ...]:
    if isinstance(given, str | bytes | re.Pattern):
        raise TypeError(f"{name} must be a sequence, not {given!r}")
    return tuple(given)


def _check_text(name: str, one: object) -> None:
    text: object = one
    if isinstance(one, re.Pattern):
        text = cast("re.Pattern[str]", one).pattern  # or of bytes
    if not isinstance(text, str):
        raise TypeError(f"{name} must be strings and patterns of strings, not {one!r}")
