"""Header fields and the grammars in them."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import pytest

from anyio_ws.exceptions import InvalidHeader
from anyio_ws.sansio import Headers
from anyio_ws.sansio.headers import (
    MAX_FORWARDED,
    ExtensionParameter,
    HeadersLike,
    build_basic_challenge,
    build_extension,
    build_host,
    is_token,
    parse_address,
    parse_basic,
    parse_date,
    parse_extensions,
    parse_forwarded_for,
    parse_host,
    parse_retry_after,
    parse_tokens,
)

# -- the mapping


@pytest.mark.parametrize(
    "given",
    [
        {"A": "1", "b": "2"},
        [("A", "1"), ("b", "2")],
        iter([("A", "1"), ("b", "2")]),
        Headers({"A": "1", "b": "2"}),
    ],
)
def test_headers_are_made_of_mappings_pairs_and_other_headers(given: HeadersLike) -> None:
    assert list(Headers(given).raw_items()) == [("A", "1"), ("b", "2")]


def test_headers_are_made_of_keywords_after_a_positional_argument() -> None:
    assert list(Headers([("A", "1"), ("A", "2")], b="3").raw_items()) == [
        ("A", "1"),
        ("A", "2"),
        ("b", "3"),
    ]
    assert list(Headers().raw_items()) == []
    with pytest.raises(TypeError, match="one positional argument, got 2"):
        Headers({}, {})


def test_names_are_found_in_any_case_and_kept_as_given() -> None:
    headers = Headers({"Sec-WebSocket-Key": "x"})
    assert headers["sec-websocket-key"] == headers["SEC-WEBSOCKET-KEY"] == "x"
    assert "SEC-websocket-key" in headers
    assert list(headers.raw_items()) == [("Sec-WebSocket-Key", "x")]
    assert list(headers) == ["sec-websocket-key"]


def test_repeated_names_are_joined_listed_and_counted_once() -> None:
    headers = Headers([("X", "1"), ("Y", "2"), ("x", "3")])
    assert headers["X"] == "1, 3"
    assert headers.get_all("x") == ["1", "3"]
    assert headers.get_all("z") == []
    assert list(headers) == ["x", "y"]
    assert len(headers) == 2
    assert dict(headers) == {"x": "1, 3", "y": "2"}


def test_assigning_replaces_every_field_of_that_name_and_add_none() -> None:
    headers = Headers([("X", "1"), ("Y", "2"), ("x", "3")])
    headers["x"] = "4"
    assert list(headers.raw_items()) == [("Y", "2"), ("x", "4")]
    headers.add("X", "5")
    assert headers.get_all("x") == ["4", "5"]


def test_deleting_takes_every_field_of_that_name() -> None:
    headers = Headers([("X", "1"), ("Y", "2"), ("x", "3")])
    del headers["x"]
    assert list(headers.raw_items()) == [("Y", "2")]
    with pytest.raises(KeyError):
        del headers["x"]


def test_what_is_missing_is_a_key_error_or_the_default() -> None:
    with pytest.raises(KeyError, match="Nope"):
        Headers()["Nope"]
    assert Headers().get("Nope") is None
    assert "Nope" not in Headers()
    not_a_name: object = 1
    assert not_a_name not in Headers()


def test_equality_ignores_case_of_names_and_order_between_names() -> None:
    assert Headers([("A", "1"), ("b", "2")]) == Headers([("B", "2"), ("a", "1")])
    assert Headers([("A", "1"), ("A", "2")]) != Headers([("A", "2"), ("A", "1")])
    assert Headers(A="x") != Headers(A="X")
    assert Headers([("A", "1"), ("A", "2")]) != Headers(A="1, 2")
    assert Headers(A="1") != {"a": "1"}


def test_headers_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Headers())


def test_a_copy_changes_on_its_own() -> None:
    headers = Headers([("A", "1"), ("A", "2")])
    copy = headers.copy()
    copy["A"] = "3"
    assert headers.get_all("a") == ["1", "2"]


def test_what_is_iterated_over_may_be_changed_meanwhile() -> None:
    headers = Headers([("A", "1"), ("B", "2")])
    for name, _ in headers.raw_items():
        del headers[name]
    assert len(headers) == 0


def test_headers_show_their_fields_and_can_be_pickled() -> None:
    headers = Headers([("A", "1"), ("a", "2")])
    assert repr(headers) == "Headers([('A', '1'), ('a', '2')])"
    assert list(pickle.loads(pickle.dumps(headers)).raw_items()) == list(headers.raw_items())


def test_serializing_writes_the_fields_as_they_stand_and_an_empty_line() -> None:
    headers = Headers([("A", "1"), ("b", ""), ("a", "caf\xe9")])
    assert headers.serialize() == b"A: 1\r\nb: \r\na: caf\xe9\r\n\r\n"
    assert Headers().serialize() == b"\r\n"


def test_space_around_a_value_is_not_part_of_it() -> None:
    assert Headers(A=" \t1 2\t ")["a"] == "1 2"


# -- nothing that would change the message's structure

BAD_NAMES = ["", " ", "A ", " A", "A:", "A\r\nB", "A\nB", "A\0", "caf\xe9", "A(", '"A"', "A/B"]
BAD_VALUES = ["1\r\nInjected: 2", "1\r", "\n1", "1\n 2", "\0", "1\r\n\r\nGET / HTTP/1.1", "€"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    headers = Headers()
    with pytest.raises(ValueError, match="isn't a valid header name"):
        headers.add(name, "1")
    with pytest.raises(ValueError, match="isn't a valid header name"):
        headers[name] = "1"
    with pytest.raises(ValueError, match="isn't a valid header name"):
        Headers({name: "1"})
    assert headers.serialize() == b"\r\n"


@pytest.mark.parametrize("value", [1, None, b"1", ["1"]])
def test_a_value_that_is_no_string_is_refused(value: Any) -> None:
    headers = Headers()
    with pytest.raises(TypeError, match="the value of header A must be a string, not "):
        headers.add("A", value)
    with pytest.raises(TypeError, match="the value of header A must be a string, not "):
        Headers({"A": value})
    with pytest.raises(TypeError, match="the name of a header must be a string, not "):
        Headers([(value, "1")])
    assert not headers


@pytest.mark.parametrize(
    "given", ["A: 1", ["A: 1"], ["ab"], [b"ab"], [("A",)], [("A", "1", "2")], [1]]
)
def test_headers_are_not_made_of_lines(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^headers must be a mapping, or pairs of a name and a value$"
    ):
        Headers(given)


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_with_a_line_break_is_refused_and_changes_nothing(value: str) -> None:
    headers = Headers(A="kept")
    with pytest.raises(ValueError, match="header A can't have the value"):
        headers.add("A", value)
    with pytest.raises(ValueError, match="header A can't have the value"):
        headers["A"] = value
    with pytest.raises(ValueError, match="header A can't have the value"):
        headers.update({"A": value})
    with pytest.raises(ValueError, match="header A can't have the value"):
        Headers(A=value)
    assert headers.serialize() == b"A: kept\r\n\r\n"


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "Set-Cookie"])
@pytest.mark.parametrize("value", ["secret\n", "secret\u20ac"])
def test_what_is_refused_of_a_secret_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"header {name} can't have its value: it has ") as caught:
        Headers({name: value})
    assert "secret" not in str(caught.value)


# -- grammars


def test_a_token_is_what_rfc_9110_says() -> None:
    allowed = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert {chr(i) for i in range(512) if is_token(chr(i))} == set(allowed)
    assert is_token("permessage-deflate")
    assert not is_token("")
    assert not is_token("a b")


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ([], []),
        ([""], []),
        ([" , ,\t"], []),
        (["chat"], ["chat"]),
        (["chat, superchat"], ["chat", "superchat"]),
        (["chat,superchat", " v1 ,, v2\t"], ["chat", "superchat", "v1", "v2"]),
    ],
)
def test_tokens_are_read_out_of_every_field(values: list[str], tokens: list[str]) -> None:
    assert parse_tokens("X", values) == tokens


@pytest.mark.parametrize("value", ["a b", "a;b", '"a"', "a, b/c", "\xe9", "a=b"])
def test_what_is_not_a_token_is_an_invalid_header(value: str) -> None:
    with pytest.raises(InvalidHeader, match="isn't a token") as caught:
        parse_tokens("X", ["ok", value])
    assert (caught.value.name, caught.value.value) == ("X", value)


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        ([], []),
        ([""], []),
        ([" , "], []),
        (["foo"], [("foo", [])]),
        (["foo;bar"], [("foo", [("bar", None)])]),
        (["foo; bar=1; bar"], [("foo", [("bar", "1"), ("bar", None)])]),
        ([' foo ; bar = "baz" ,, qux '], [("foo", [("bar", "baz")]), ("qux", [])]),
        (['foo; a="b\\c"'], [("foo", [("a", "bc")])]),
        (["foo, foo; x=y", "bar"], [("foo", []), ("foo", [("x", "y")]), ("bar", [])]),
        (["foo\t;\tbar\t=\tbaz\t"], [("foo", [("bar", "baz")])]),
    ],
)
def test_extensions_are_read_with_their_parameters(
    values: list[str], extensions: list[tuple[str, list[ExtensionParameter]]]
) -> None:
    assert parse_extensions(values) == extensions


@pytest.mark.parametrize(
    "value",
    [
        ";",
        "foo;",
        "foo; ;bar",
        "foo; bar=",
        "foo; bar=;",
        "foo bar",
        "foo; bar baz",
        "foo=1",
        "(foo)",
        '"foo"',
        'foo; bar="',
        'foo; bar="baz',
        'foo; bar="baz\\',
        'foo; bar="baz\\"',
        'foo; bar=""',
        'foo; bar="a b"',
        'foo; bar="a\\"b"',
        'foo; bar="a,b"',
        "foo; b\xe9",
    ],
)
def test_extensions_outside_the_grammar_are_an_invalid_header(value: str) -> None:
    with pytest.raises(InvalidHeader) as caught:
        parse_extensions(["ok", value])
    assert caught.value.name == "Sec-WebSocket-Extensions"
    assert caught.value.value == value


@pytest.mark.parametrize(
    ("name", "params", "written"),
    [
        ("foo", [], "foo"),
        ("foo", [("bar", None)], "foo; bar"),
        ("foo", [("bar", "1"), ("baz", None)], "foo; bar=1; baz"),
    ],
)
def test_an_extension_is_written_as_it_is_read(
    name: str, params: list[ExtensionParameter], written: str
) -> None:
    assert build_extension(name, params) == written
    assert parse_extensions([written]) == [(name, params)]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("", []),
        ("a b", []),
        ("a\r\n", []),
        ("a", [("", None)]),
        ("a", [("b", "")]),
        ("a", [("b", "c, d")]),
        ("a", [("b;c", "d")]),
    ],
)
def test_an_extension_that_could_not_be_read_is_not_written(
    name: str, params: list[ExtensionParameter]
) -> None:
    with pytest.raises(ValueError, match="isn't a token"):
        build_extension(name, params)


@pytest.mark.parametrize(
    ("host", "port", "secure", "header"),
    [
        ("example.com", 80, False, "example.com"),
        ("example.com", 443, True, "example.com"),
        ("example.com", 443, False, "example.com:443"),
        ("example.com", 80, True, "example.com:80"),
        ("127.0.0.1", 8765, False, "127.0.0.1:8765"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8765, True, "[::1]:8765"),
    ],
)
def test_the_host_header_has_a_port_where_it_is_not_the_default(
    host: str, port: int, secure: bool, header: str
) -> None:
    assert build_host(host, port, secure=secure) == header


# -- Host


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("Example.COM", "example.com", None),
        ("example.com:8765", "example.com", 8765),
        ("example.com:", "example.com", None),
        ("example.com:0", "example.com", 0),
        ("example.com:00080", "example.com", 80),
        ("example.com:65535", "example.com", 65535),
        ("example.com.", "example.com.", None),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("a_b-c~d", "a_b-c~d", None),
        ("[::1]", "::1", None),
        ("[::1]:8765", "::1", 8765),
        ("[::1]:", "::1", None),
        ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1", None),
    ],
)
def test_a_host_is_split_into_name_or_address_and_port(
    value: str, host: str, port: int | None
) -> None:
    assert parse_host(value) == (host, port)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":80",
        "example.com:port",
        "example.com:65536",
        "example.com:-1",
        "example.com:+1",
        "example.com:000080",
        "example.com:8_0",
        "example.com:²",
        "example.com:80:80",
        "example.com/",
        "user@example.com",
        "http://example.com",
        "example.com, example.org",
        "exa mple.com",
        "höst.example",
        "example.com\0",
        "::1",
        "[::1",
        "[::1]80",
        "[::1]x:80",
        "[::1]]",
        "[]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.x]",
    ],
)
def test_a_host_outside_the_grammar_is_an_invalid_header(value: str) -> None:
    with pytest.raises(InvalidHeader) as caught:
        parse_host(value)
    assert (caught.value.name, caught.value.value) == ("Host", value)


# -- Basic authentication


def basic(data: bytes) -> str:
    return f"Basic {base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ("Aladdin", "open sesame")),  # RFC 7617, 2
        ("Basic dGVzdDoxMjPCow==", ("test", "123£")),  # RFC 7617, 2.1
        ("basic QTpi", ("A", "b")),
        ("BASIC   QTpi", ("A", "b")),
        (basic("jürgen:geheim€".encode()), ("jürgen", "geheim€")),
        (basic("jürgen:geheim".encode("iso-8859-1")), ("jürgen", "geheim")),
        (basic(b":"), ("", "")),
        (basic(b"ada:"), ("ada", "")),
        (basic(b"ada:a:b"), ("ada", "a:b")),
    ],
)
def test_basic_credentials_are_read(value: str, credentials: tuple[str, str]) -> None:
    assert parse_basic(value) == credentials


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "QTpi",
        "Bearer QTpi",
        "BasicQTpi",
        "Basic\tQTpi",
        'Digest username="ada"',
        "Basic QTpi QTpi",
        "Basic QTpi,",
        "Basic QT*i",
        "Basic QTp",
        "Basic ====",
        "Basic QTpé",
        basic(b"no colon"),
        basic(b"a\nda:b"),
        basic(b"ada:\0"),
        basic(b"ada:\x7f"),
    ],
)
def test_what_is_no_basic_credentials_is_none(value: str) -> None:
    assert parse_basic(value) is None


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [
        ("", 'Basic realm="", charset="UTF-8"'),
        ("the staff, and guests", 'Basic realm="the staff, and guests", charset="UTF-8"'),
        ('a "b" \\c', 'Basic realm="a \\"b\\" \\\\c", charset="UTF-8"'),
    ],
)
def test_a_realm_is_quoted(realm: str, challenge: str) -> None:
    assert build_basic_challenge(realm) == challenge


@pytest.mark.parametrize("realm", ["a\r\nb", "a\0", "a\tb", "caf\xe9", "\x7f"])
def test_a_realm_is_printable_ascii(realm: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        build_basic_challenge(realm)


# -- X-Forwarded-For


@pytest.mark.parametrize(
    ("values", "addresses"),
    [
        ([], []),
        ([""], []),
        (["192.0.2.1"], ["192.0.2.1"]),
        (["192.0.2.1, 192.0.2.2,192.0.2.3"], ["192.0.2.3", "192.0.2.2", "192.0.2.1"]),
        (["192.0.2.1", "192.0.2.2 ,\t192.0.2.3"], ["192.0.2.3", "192.0.2.2", "192.0.2.1"]),
        (["2001:DB8:0::1, ::1"], ["::1", "2001:db8::1"]),
        (["192.0.2.1:8765"], ["192.0.2.1"]),
        (["[2001:db8::1]:8765, [::1]"], ["::1", "2001:db8::1"]),
        (["::ffff:192.0.2.1, [::ffff:192.0.2.2]:1"], ["192.0.2.2", "192.0.2.1"]),
        (["192.0.2.1,"], []),
        (["192.0.2.1,, 192.0.2.3"], ["192.0.2.3"]),
        (["192.0.2.1, unknown, 192.0.2.3"], ["192.0.2.3"]),
        (["192.0.2.1", "", "192.0.2.3"], ["192.0.2.3"]),
        (["192.0.2.1", "_hidden"], []),
        (["192.0.2.1 192.0.2.2"], []),
        (["192.0.2.256"], []),
        (["192.0.2"], []),
        (["192.0.2.01"], []),
        (["3221225985"], []),
        (["192.0.2.1/32"], []),
        (["192.0.2.²"], []),
        (["192.0.2.1:port"], []),
        (["::1%lo"], []),
        (["[::1%lo]:1"], []),
        (["[::1"], []),
        (["for=192.0.2.1"], []),
        (['"192.0.2.1"'], []),
    ],
)
def test_the_addresses_that_a_request_was_forwarded_for_are_read_from_the_end(
    values: list[str], addresses: list[str]
) -> None:
    assert [str(address) for address in parse_forwarded_for(values)] == addresses


def test_only_so_many_of_them_are_read() -> None:
    for values in [", ".join(["192.0.2.1"] * 5000)], ["192.0.2.1"] * 5000:
        assert len(list(parse_forwarded_for(values))) == MAX_FORWARDED
    assert len(list(parse_forwarded_for(["192.0.2.1"] * MAX_FORWARDED))) == MAX_FORWARDED


def test_an_ipv4_address_is_the_same_however_it_is_written() -> None:
    assert parse_address("::ffff:192.0.2.1") == parse_address("192.0.2.1")
    assert str(parse_address("::FFFF:c000:201")) == "192.0.2.1"
    assert str(parse_address("fe80::1%2")) == "fe80::1%2"


# -- dates, and seconds to wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),  # the three of RFC 9110, 5.6.7
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Wednesday, 01-Jan-70 00:00:00 GMT", 0),
        ("Friday, 31-Dec-69 00:00:00 GMT", 3155673600),
        ("Tue Nov 16 08:49:37 1999", 942742177),
        ("Thu, 29 Feb 2024 23:59:60 GMT", 1709251200),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
    ],
)
def test_a_date_is_read_in_each_of_its_formats(value: str, seconds: int) -> None:
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "GMT",
        "soon",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 2023 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 +8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:\xb2\xb2 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-94-1 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  06 08:49:37 1994",
        "Sun Nov   6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 1994 GMT",
    ],
)
def test_what_is_no_date_is_none(value: str) -> None:
    assert parse_date(value) is None


NOON = "Sun, 06 Nov 1994 12:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", "", 120),
        ("0", NOON, 0),
        ("0030", "", 30),
        ("9999999999", "", 9999999999),
        ("Sun, 06 Nov 1994 12:00:30 GMT", NOON, 30),
        ("Sun Nov  6 12:01:00 1994", NOON, 60),
        (NOON, NOON, 0),
        ("Sun, 06 Nov 1994 11:59:00 GMT", NOON, 0),
        ("", "", None),
        ("-1", "", None),
        ("+1", "", None),
        ("1.5", "", None),
        ("1e3", "", None),
        ("120, 120", "", None),
        ("120 s", "", None),
        ("\xb2", "", None),
        ("12345678901", "", None),
        ("9" * 10_000, "", None),
        ("never", NOON, None),
        ("Sun, 06 Nov 1994 12:00:30 GMT", "", None),
        ("Sun, 06 Nov 1994 12:00:30 GMT", "now", None),
    ],
)
def test_how_long_to_wait_is_seconds_or_a_date(
    value: str, date: str, seconds: float | None
) -> None:
    assert parse_retry_after(value, date) == seconds
