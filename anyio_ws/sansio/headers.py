"""HTTP header fields and the grammars of those that the handshake uses (RFC 9110, RFC 6455).

Nothing else in the package splits a header. The parsers walk the text once, without regular
expressions, so hostile input costs linear time. `Headers` refuses what must not reach the wire (line
breaks, NUL), which makes every serialized message safe from header injection.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final, cast

from ..exceptions import InvalidHeader, shortened

__all__ = [
    "ExtensionParameter",
    "Headers",
    "HeadersLike",
    "IPAddress",
    "build_authority",
    "build_basic",
    "build_basic_challenge",
    "build_extension",
    "build_host",
    "parse_address",
    "parse_basic",
    "parse_date",
    "parse_extensions",
    "parse_forwarded_for",
    "parse_host",
    "parse_retry_after",
    "parse_tokens",
]

ExtensionParameter = tuple[str, str | None]
"""A name, and a value or None."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_FORWARDED: Final = 50
"""Addresses in X-Forwarded-For that are looked at: requests don't pass through as many proxies."""

SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
"""Headers whose values neither logs nor errors show."""

MAX_DELAY_DIGITS: Final = 10
"""Of the seconds in Retry-After: three hundred years."""

_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WHOLE_DAYS: Final = tuple(
    f"{day}day" for day in ("Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun")
)

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS: Final = "0123456789"
_TOKEN_CHARS: Final = frozenset("!#$%&'*+-.^_`|~" + _DIGITS + _LETTERS)  # RFC 9110, 5.6.2
_NAME_CHARS: Final = frozenset("-._~%!$&'()*+,;=" + _DIGITS + _LETTERS)  # RFC 3986, 3.2.2: reg-name


def is_token(text: str) -> bool:
    """Whether *text* is a token (RFC 9110, section 5.6.2)."""
    return bool(text) and _TOKEN_CHARS.issuperset(text)


class Headers(MutableMapping[str, str]):
    """Header fields: a case-insensitive mapping that keeps order, case and repeated names.

    ``headers[name]`` is the one value of that name, joined with ``", "`` where it was repeated (RFC
    9110, section 5.3); `get_all` gives each. Assigning replaces; `add` adds a further field.

    :raises ValueError: a name that isn't a token, a value with a line break, NUL or a character
        beyond ISO-8859-1
    :raises TypeError: a name or a value that isn't a string; neither a mapping nor pairs
    """

    __slots__ = ("_fields",)

    def __init__(self, *args: HeadersLike, **fields: str) -> None:
        if len(args) > 1:
            raise TypeError(f"Headers takes one positional argument, got {len(args)}")
        self._fields: list[tuple[str, str]] = []
        for given in (*args, fields):
            for name, value in _pairs(given):
                self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Add a field, whether or not there are others of that name."""
        self._fields.append(_checked(name, value))

    def get_all(self, name: str) -> list[str]:
        """Return the values of all the fields of that name, in order."""
        wanted = name.lower()
        return [value for key, value in self._fields if key.lower() == wanted]

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Iterate over the fields as they stand, repeated names and all."""
        return iter(tuple(self._fields))

    def copy(self) -> Headers:
        """Return a copy that can be changed on its own."""
        return Headers(self)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        field = _checked(name, value)  # before the old value is given up
        self.pop(name, None)
        self._fields.append(field)

    def __delitem__(self, name: str) -> None:
        wanted = name.lower()
        remaining = [field for field in self._fields if field[0].lower() != wanted]
        if len(remaining) == len(self._fields):
            raise KeyError(name)
        self._fields = remaining

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        seen: dict[str, None] = dict.fromkeys(name.lower() for name, _ in self._fields)
        return iter(seen)

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._normalized() == other._normalized()

    __hash__ = None  # type: ignore[assignment]  # mutable, as every mapping that can change

    def _normalized(self) -> dict[str, list[str]]:
        return {name: self.get_all(name) for name in self}

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"

    def serialize(self) -> bytes:
        """Write the fields and the empty line after them."""
        lines = [f"{name}: {value}\r\n" for name, value in self._fields]
        return ("".join(lines) + "\r\n").encode("iso-8859-1")


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
"""What header fields may be given as."""


def _checked(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str):
        raise TypeError(f"the name of a header must be a string, not {name!r}")
    if not isinstance(value, str):  # which isn't quoted: it may be a secret
        raise TypeError(f"the value of header {name} must be a string, not {type(value).__name__}")
    if not is_token(name):
        raise ValueError(f"{name!r} isn't a valid header name")
    for char in value:
        if char in "\r\n\0" or char > "\xff":
            shown = "its value" if name.lower() in SECRET else f"the value {value!r}"
            raise ValueError(f"header {name} can't have {shown}: it has {char!r}")
    return name, value.strip(" \t")


def _pairs(given: HeadersLike) -> Iterable[tuple[str, str]]:
    if isinstance(given, Headers):
        return given.raw_items()
    if isinstance(given, Mapping):
        return cast("Mapping[str, str]", given).items()
    return map(_pair, given)


def _pair(given: object) -> tuple[str, str]:
    """What is to be a name and a value; a string of two characters is none."""
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        pair = tuple(cast("Sequence[str]", given))
        if len(pair) == 2:
            return pair
    raise TypeError("headers must be a mapping, or pairs of a name and a value")


def build_authority(host: str, port: int) -> str:
    """Write host and port as a URI has them (RFC 3986, section 3.2): brackets for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def build_host(host: str, port: int, *, secure: bool) -> str:
    """Write a Host header (RFC 9110, section 7.2): brackets for IPv6, no port where it's the default."""
    shown = build_authority(host, port)
    return shown.removesuffix(f":{port}") if port == (443 if secure else 80) else shown


def parse_host(value: str) -> tuple[str, int | None]:
    """Split a Host header (RFC 9110, section 7.2) into name or address, and port.

    Names are in lower case, IPv6 addresses as short as they can be, without brackets; the port is None
    where there is none.

    :raises InvalidHeader: it doesn't follow the grammar, or there is no host in it
    """
    if value.startswith("["):
        text, bracket, rest = value[1:].partition("]")
        host = _ipv6(text) if bracket else ""
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = value.partition(":")
        host = host.lower() if _NAME_CHARS.issuperset(host) else ""
    if not host:
        raise InvalidHeader("Host", value, "that isn't a host")
    if colon not in ("", ":") or not _is_port(port):
        raise InvalidHeader("Host", value, "that isn't a port")
    return host, int(port) if port else None  # RFC 3986, 3.2.3: it may be empty


def _ipv6(text: str) -> str:
    try:
        # What comes after a "%" is a name of our own interfaces: no business of a peer.
        return "" if "%" in text else str(ipaddress.IPv6Address(text))
    except ValueError:
        return ""


def _is_port(text: str) -> bool:
    """Whether it is one, or nothing; leading zeros are allowed, if not many of them."""
    return not text or (
        text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 2**16
    )


def parse_address(text: str) -> IPAddress:
    """Read an IP address; one of IPv4 that is written as one of IPv6 is of IPv4.

    :raises ValueError: it is none
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_forwarded_for(values: Sequence[str]) -> Iterator[IPAddress]:
    """Read the X-Forwarded-For fields from their end, as proxies have added to them: a port may follow.

    Stops at what isn't an address, and after `MAX_FORWARDED` of them.
    """
    for part in reversed(",".join(values).rsplit(",", MAX_FORWARDED)):
        text = part.strip(" \t")
        try:
            yield parse_address(text if _ipv6(text) else parse_host(text)[0])
        except (InvalidHeader, ValueError):
            return


def build_basic(username: str, password: str) -> str:
    """Write an Authorization header of HTTP Basic authentication (RFC 7617, section 2), in UTF-8."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def build_basic_challenge(realm: str) -> str:
    """Write a WWW-Authenticate header that asks for HTTP Basic authentication (RFC 7617, section 2.1).

    :raises ValueError: *realm* has other characters than the printable ones of ASCII
    """
    if not (realm.isascii() and realm.isprintable()):
        raise ValueError(f"the realm {realm!r} has other characters than printable ASCII")
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')  # RFC 9110, 5.6.4: a quoted string
    return f'Basic realm="{escaped}", charset="UTF-8"'


def parse_basic(value: str) -> tuple[str, str] | None:
    """Read user name and password out of an Authorization header (RFC 7617, section 2).

    They are taken as UTF-8 and, where they can't be that, as ISO-8859-1. None for another scheme, and for
    what doesn't follow the grammar: an error would quote secrets.
    """
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        data = binascii.a2b_base64(token.strip(" ").encode("ascii"), strict_mode=True)
    except ValueError:  # not even ASCII, or not base64
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("iso-8859-1")
    username, colon, password = text.partition(":")
    if not colon or any(char < " " or char == "\x7f" for char in text):
        return None
    return username, password


def parse_date(value: str) -> int | None:
    """Read an HTTP-date (RFC 9110, section 5.6.7), in any of its three formats, as seconds since 1970 began.

    None if it doesn't follow the grammar. That the day of the week is the right one isn't checked.
    """
    match value.split(" "):
        case [day, date, month, year, time, "GMT"] if day[:-1] in _DAYS and day[-1] == ",":
            fits = len(date) == 2 and len(year) == 4
        case [day, date, time, "GMT"] if day[:-1] in _WHOLE_DAYS and date.count("-") == 2:
            date, month, year = date.split("-")
            fits = len(date) == len(year) == 2
            # To be understood by today's date, which nothing here knows: as POSIX does.
            year = f"19{year}" if year >= "70" else f"20{year}"
        case [day, month, *padded, date, time, year] if day in _DAYS and padded in ([], [""]):
            fits = len(date) == 2 - len(padded) and len(year) == 4
        case _:
            return None
    clock = time.split(":")
    numbers = [date, year, *clock]
    if not (fits and len(clock) == 3 and all(len(part) == 2 for part in clock)):
        return None
    if month not in _MONTHS or not all(one.isascii() and one.isdecimal() for one in numbers):
        return None
    when = int(year), _MONTHS.index(month) + 1, int(date)
    hour, minute, second = (int(part) for part in clock)
    if not when[0] or not 1 <= when[2] <= calendar.monthrange(*when[:2])[1]:
        return None
    if hour > 23 or minute > 59 or second > 60:  # a leap second
        return None
    return calendar.timegm((*when, hour, minute, second))


def parse_retry_after(value: str, date: str) -> float | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3) as seconds, at least 0.

    None if it doesn't follow the grammar, or is a date and *date*, the response's Date header, is none.
    """
    if value.isascii() and value.isdecimal():
        return float(value) if len(value) <= MAX_DELAY_DIGITS else None
    then, now = parse_date(value), parse_date(date)
    return None if then is None or now is None else float(max(0, then - now))


def parse_tokens(name: str, values: Sequence[str]) -> list[str]:
    """Read comma-separated tokens (Connection, Sec-WebSocket-Protocol) out of all fields of *name*.

    :raises InvalidHeader: anything but tokens
    """
    tokens: list[str] = []
    for value in values:
        for part in value.split(","):
            token = part.strip(" \t")
            if not token:
                continue  # RFC 9110, 5.6.1.2: empty elements are to be ignored
            if not is_token(token):
                raise InvalidHeader(name, value, f"{shortened(token)!r} isn't a token")
            tokens.append(token)
    return tokens


def build_extension(name: str, params: Sequence[ExtensionParameter]) -> str:
    """Write one element of a Sec-WebSocket-Extensions header (RFC 6455, section 9.1)."""
    parts = [name, *(key if value is None else f"{key}={value}" for key, value in params)]
    for part in (name, *(text for param in params for text in param if text is not None)):
        if not is_token(part):
            raise ValueError(f"{part!r} in extension {name!r} isn't a token")
    return "; ".join(parts)


def parse_extensions(values: Sequence[str]) -> list[tuple[str, list[ExtensionParameter]]]:
    """Read Sec-WebSocket-Extensions fields (RFC 6455, section 9.1).

    :raises InvalidHeader: they don't follow the grammar
    """
    found: list[tuple[str, list[ExtensionParameter]]] = []
    for value in values:
        found.extend(_ExtensionScanner(value).extensions())
    return found


class _ExtensionScanner:
    """Walks one header value; each method consumes what it's named for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def extensions(self) -> Iterator[tuple[str, list[ExtensionParameter]]]:
        while True:
            while self._take(","):
                pass
            if self._at_end():
                return
            name = self._token()
            params: list[ExtensionParameter] = []
            while self._take(";"):
                key = self._token()
                params.append((key, self._value() if self._take("=") else None))
            yield name, params
            if not self._at_end() and not self._take(","):
                raise self._error("a comma or semicolon was expected")

    def _error(self, reason: str) -> InvalidHeader:
        return InvalidHeader(
            "Sec-WebSocket-Extensions", self.text, f"{reason} at position {self.position}"
        )

    def _skip_space(self) -> None:
        while self.position < len(self.text) and self.text[self.position] in " \t":
            self.position += 1

    def _at_end(self) -> bool:
        self._skip_space()
        return self.position == len(self.text)

    def _take(self, char: str) -> bool:
        self._skip_space()
        if self.text[self.position : self.position + 1] != char:
            return False
        self.position += 1
        return True

    def _token(self) -> str:
        self._skip_space()
        start = self.position
        while self.position < len(self.text) and self.text[self.position] in _TOKEN_CHARS:
            self.position += 1
        if start == self.position:
            raise self._error("a token was expected")
        return self.text[start : self.position]

    def _value(self) -> str:
        if not self._take('"'):
            return self._token()
        # A quoted value must be a token once unquoted (RFC 6455, 9.1), escapes included.
        chars: list[str] = []
        while self.position < len(self.text) and self.text[self.position] != '"':
            if self.text[self.position] == "\\":
                self.position += 1
            chars.append(self.text[self.position : self.position + 1])
            self.position += 1
        self.position += 1
        value = "".join(chars)
        if self.position > len(self.text) or not is_token(value):
            raise self._error("a quoted token was expected")
        return value
