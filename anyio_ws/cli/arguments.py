"""What stands for an option on the command line, and is refused there if it makes no sense.

Each function takes the text and returns its value.

:raises argparse.ArgumentTypeError: it has none
"""

from __future__ import annotations

import argparse
import math

from anyio_ws.exceptions import ProtocolError
from anyio_ws.sansio import Headers
from anyio_ws.sansio.frames import MAX_CONTROL_PAYLOAD, check_close

__all__ = [
    "amount",
    "close_code",
    "close_reason",
    "cookie",
    "count",
    "header",
    "not_negative",
    "ping_size",
    "port",
    "positive",
    "proxy",
    "seconds_or_forever",
]

PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
"""What a client can connect through."""


def positive(text: str) -> float:
    """Return a number beyond 0."""
    number = not_negative(text)
    if not number:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def not_negative(text: str) -> float:
    """Return a number that is 0 or more."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if not 0 <= number < math.inf:  # which also refuses "nan"
        raise argparse.ArgumentTypeError(f"must be 0 or more, and finite: {text!r}")
    return number


def seconds_or_forever(text: str) -> float:
    """Return a number that is 0 or more; infinity is called ``forever``."""
    return math.inf if text == "forever" else not_negative(text)


def amount(text: str) -> int:
    """Return a whole number that is 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}")
    return int(text)


def count(text: str) -> int:
    """Return a whole number that is 1 or more."""
    number = amount(text)
    if not number:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def ping_size(text: str) -> int:
    """Return how many bytes a ping is to carry."""
    number = amount(text)
    if number > MAX_CONTROL_PAYLOAD:
        raise argparse.ArgumentTypeError(f"a ping carries {MAX_CONTROL_PAYLOAD} bytes at most")
    return number


def port(text: str) -> int:
    """Return the number of a port, 0 among them."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return int(text)


def proxy(text: str) -> str:
    """Return the URL of a proxy, or ``none``."""
    if text != "none" and text.partition("://")[0].lower() not in PROXIES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'none' nor a URL of one of {', '.join(PROXIES)}"
        )
    return text


def close_code(text: str) -> int:
    """Return a close code that may be sent."""
    code = amount(text)
    try:
        check_close(code, "")
    except ProtocolError:
        raise argparse.ArgumentTypeError(
            f"{code} can't be sent: only 1000 to 1003, 1007 to 1014 and 3000 to 4999"
        ) from None
    return code


def close_reason(text: str) -> str:
    """Return the reason of a Close frame."""
    try:
        check_close(1000, text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def cookie(text: str) -> str:
    """Return ``NAME=VALUE`` as it is."""
    if not text.partition("=")[1] or ";" in text:
        raise argparse.ArgumentTypeError(f"not one cookie, of the form NAME=VALUE: {text!r}")
    return text


def header(text: str) -> tuple[str, str]:
    """Return name and value of ``Name: value``."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"not of the form 'Name: value': {text!r}")
    try:
        Headers([(name, value.strip())])
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return name, value.strip()
