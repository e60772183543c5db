"""The two HTTP messages of the handshake."""

from __future__ import annotations

import re
from typing import Any

import pytest

from anyio_ws.exceptions import InvalidMessage
from anyio_ws.sansio import Headers, Request, Response
from anyio_ws.sansio.http import (
    MAX_BODY,
    MAX_HEADER_SIZE,
    RequestReader,
    ResponseReader,
    reason_phrase,
)

from .helpers import SPLITS, Split, byte_by_byte, whole

# -- writing


def test_a_request_is_written_with_its_fields_in_order() -> None:
    request = Request("/chat?x=1", Headers([("Host", "h"), ("X", "1"), ("x", "2")]))
    assert request.serialize() == b"GET /chat?x=1 HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("", "/"),
        ("GET", "/a b"),
        ("GET", "/ HTTP/1.1\r\nInjected: 1"),
        ("GET", "/\r\n"),
        ("GET", "/\n"),
        ("GET", "/\0"),
        ("GET", "/\x7f"),
        ("GET", "/\t"),
        ("GET", "/é"),
        ("GET ", "/"),
        ("GE T", "/"),
        ("GET\r\n", "/"),
    ],
)
def test_a_request_line_that_would_not_be_one_is_not_written(method: str, path: str) -> None:
    with pytest.raises(ValueError, match="isn't a valid request line"):
        Request(path, Headers(), method=method).serialize()


def test_a_response_is_written_with_its_body() -> None:
    response = Response(404, "Not Found", Headers(A="1"), b"no\n")
    assert response.serialize() == b"HTTP/1.1 404 Not Found\r\nA: 1\r\n\r\nno\n"
    assert Response(299, "").serialize() == b"HTTP/1.1 299 \r\n\r\n"
    assert Response(200, "d\xe9j\xe0 vu").serialize() == b"HTTP/1.1 200 d\xe9j\xe0 vu\r\n\r\n"


@pytest.mark.parametrize("phrase", ["OK\r\nInjected: 1", "\r", "\n", "\0", "€"])
def test_a_reason_phrase_with_a_line_break_is_not_written(phrase: str) -> None:
    with pytest.raises(ValueError, match="reason phrase"):
        Response(200, phrase).serialize()


@pytest.mark.parametrize("status", [-1, 0, 99, 1000])
def test_a_number_that_is_no_status_code_is_not_written(status: int) -> None:
    with pytest.raises(ValueError, match="isn't an HTTP status code"):
        Response(status, "").serialize()


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        ([("Retry-After", "7")], 7),
        ([("retry-after", " 7 ")], 7),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "7"), ("Retry-After", "7")], None),
        ([("Retry-After", "Thu, 01 Jan 1970 00:01:00 GMT")], None),
        (
            [
                ("Date", "Thu, 01 Jan 1970 00:00:10 GMT"),
                ("Retry-After", "Thu, 01 Jan 1970 00:01:00 GMT"),
            ],
            50,
        ),
    ],
)
def test_a_response_says_when_to_ask_again(
    fields: list[tuple[str, str]], seconds: float | None
) -> None:
    assert Response(503, "Service Unavailable", Headers(fields)).retry_after == seconds


def test_reason_phrases_are_the_registered_ones() -> None:
    assert reason_phrase(426) == "Upgrade Required"
    assert reason_phrase(299) == ""


# -- reading requests


def read_request(data: bytes, split: Split) -> tuple[Request | None, bytes]:
    """The request, and what came after it."""
    reader = RequestReader()
    request = None
    rest = b""
    for piece in split(data):
        if request is None:
            reader.feed(piece)
            request = reader.next_request()
            rest = reader.trailing_data() if request is not None else b""
        else:
            rest += piece
    return request, rest


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("rest", [b"", b"\x81\x80abcd", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"])
def test_a_request_is_read_however_it_arrives_and_what_follows_is_kept(
    rest: bytes, split: Split
) -> None:
    data = b"GET /chat?x HTTP/1.1\r\nHost: h\r\nX:  1 \r\nx:\r\nY: caf\xe9\r\n\r\n"
    request, trailing = read_request(data + rest, split)
    assert request is not None
    assert (request.method, request.path, request.http_version) == ("GET", "/chat?x", "1.1")
    assert list(request.headers.raw_items()) == [
        ("Host", "h"),
        ("X", "1"),
        ("x", ""),
        ("Y", "café"),
    ]
    assert trailing == rest


@pytest.mark.parametrize("split", SPLITS)
def test_an_incomplete_request_is_waited_for(split: Split) -> None:
    assert read_request(b"GET / HTTP/1.1\r\nHost: h\r\n", split) == (None, b"")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS where plain text is spoken
        b"\r\n\r\n",
        b"\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        b"GET / HTTP/11\r\nHost: h\r\n\r\n",
        b"GET / http/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n \r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nspace : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: first\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_a_request_is_an_invalid_message_with_status_400(
    data: bytes, split: Split
) -> None:
    if data.startswith(b"PRI"):  # legal as such; who reads it judges the version
        request, _ = read_request(data, split)
        assert request is not None
        assert (request.method, request.http_version) == ("PRI", "2.0")
        return
    with pytest.raises(InvalidMessage) as caught:
        read_request(data + b"trailing", split)
    assert caught.value.status == 400


def test_the_end_of_the_stream_within_a_request_is_an_invalid_message() -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n"):
        reader = RequestReader()
        if data:
            reader.feed(data)
            assert reader.next_request() is None
        reader.feed(b"")
        with pytest.raises(InvalidMessage):
            reader.next_request()


def head_of(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: h\r\nX: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("split", SPLITS)
def test_the_head_has_a_limit_that_does_not_depend_on_how_it_is_cut(split: Split) -> None:
    request, trailing = read_request(head_of(MAX_HEADER_SIZE) + b"rest" * 5000, split)
    assert request is not None
    assert trailing == b"rest" * 5000
    for size in (MAX_HEADER_SIZE + 1, 2 * MAX_HEADER_SIZE):
        with pytest.raises(InvalidMessage) as caught:
            read_request(head_of(size), split)
        assert caught.value.status == 431


def refusal(data: bytes, split: Split, **limits: int) -> InvalidMessage | None:
    """What is wrong with a request, if anything is."""
    reader = RequestReader(**limits)
    try:
        for piece in split(data):
            reader.feed(piece)
            if reader.next_request() is not None:
                return None
    except InvalidMessage as exc:
        return exc
    raise AssertionError("neither a request nor a refusal")


LINE = b"GET /" + b"x" * 84 + b" HTTP/1.1\r\n"
REST = b"Host: h\r\n" + b"X: 1\r\n" * 9 + b"\r\n"
assert (len(LINE), len(REST)) == (100, 65)

REFUSED: list[tuple[dict[str, int], int | None, str]] = [
    ({"max_request_line": 100, "max_header_size": 165, "max_header_count": 10}, None, ""),
    ({"max_request_line": 165, "max_header_size": 165}, None, ""),
    ({"max_request_line": 1000, "max_header_size": 165}, None, ""),
    ({"max_request_line": 99}, 414, "request line of 100 bytes or more exceeds the limit of 99"),
    ({"max_request_line": 1}, 414, "request line of 2 bytes or more exceeds the limit of 1"),
    ({"max_header_size": 164}, 431, "HTTP header of 165 bytes or more exceeds the limit of 164"),
    ({"max_header_size": 99}, 431, "HTTP header of 100 bytes or more exceeds the limit of 99"),
    (
        {"max_header_size": 99, "max_request_line": 98},
        414,
        "request line of 99 bytes or more exceeds the limit of 98",
    ),
    (
        {"max_header_size": 98, "max_request_line": 98},
        431,
        "HTTP header of 99 bytes or more exceeds the limit of 98",
    ),
    ({"max_header_count": 9}, 431, "10 HTTP header fields exceed the limit of 9"),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("limits", "status", "reason"), REFUSED)
@pytest.mark.parametrize("trailing", [b"", b"\n" * 1000])
def test_each_limit_of_a_request_has_its_status_and_is_named(
    limits: dict[str, int], status: int | None, reason: str, trailing: bytes, split: Split
) -> None:
    exc = refusal(LINE + REST + trailing, split, **limits)
    if status is None:
        assert exc is None
    else:
        assert exc is not None
        assert exc.status == status
        name = "max_request_line" if status == 414 else next(iter(limits))
        assert str(exc) == f"{reason} ({name})"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("data", "status"),
    [
        # What the first byte gives away is found before the line has grown too long.
        (b"\x16\x03\x01" + b"x" * 20_000, 400),
        (b"x" * 20_000, 414),
        (b"x" * 20_000 + b"\r\n\r\n", 414),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nno colon\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\nno colon\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nno colon\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 400),
        (b"\n" * 20_000, 400),
    ],
)
def test_what_is_wrong_in_two_ways_is_refused_as_one_however_it_is_cut(
    data: bytes, status: int, split: Split
) -> None:
    exc = refusal(data, split)
    assert exc is not None
    assert exc.status == status


def test_what_is_refused_is_quoted_in_part_only() -> None:
    exc = refusal(b"x" * 5000 + b"\r\n\r\n", whole)
    assert exc is not None
    assert len(str(exc)) < 120


@pytest.mark.parametrize("split", SPLITS)
def test_a_head_without_end_is_given_up(split: Split) -> None:
    endless = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: 1\r\n" * MAX_HEADER_SIZE
    with pytest.raises(InvalidMessage) as caught:
        read_request(endless, split)
    assert caught.value.status == 431


# -- reading responses


def read_response(data: bytes, split: Split, *, eof: bool = False) -> tuple[Response | None, bytes]:
    """The response, and what came after it."""
    reader = ResponseReader()
    response = None
    rest = b""
    for piece in split(data) if data else ():
        if response is None:
            reader.feed(piece)
            response = reader.next_response()
            rest = reader.trailing_data() if response is not None else b""
        else:
            rest += piece
    if eof and response is None:
        reader.feed(b"")
        response = reader.next_response(at_eof=True)
    return response, rest


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("rest", [b"", b"\x81\x05Hello", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_101_ends_with_its_head_and_what_follows_is_kept(rest: bytes, split: Split) -> None:
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: 1\r\nX: 2\r\n\r\n"
    response, trailing = read_response(data + rest, split)
    assert response is not None
    assert (response.status_code, response.reason_phrase) == (101, "Switching Protocols")
    assert response.headers.get_all("x") == ["1", "2"]
    assert (response.body, trailing) == (b"", rest)


@pytest.mark.parametrize("split", SPLITS)
def test_other_informational_responses_are_passed_over(split: Split) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    response, _ = read_response(data + b"HTTP/1.1 101 \r\nA: 1\r\n\r\n", split)
    assert response == Response(101, "", Headers(A="1"))


BODIES = [
    (b"Content-Length: 0\r\n\r\n", False, b""),
    (b"Content-Length: 5\r\n\r\nHello", False, b"Hello"),
    (b"Content-Length: 5\r\n\r\nHello and more", False, b"Hello"),
    (b"Content-Length: 5\r\n\r\nHel", True, b"Hel"),
    (b"Transfer-Encoding: chunked\r\n\r\n2\r\nHe\r\n3;x=y\r\nllo\r\n0\r\nX: 1\r\n\r\n", False, b"Hello"),
    (b"Transfer-Encoding: chunked\r\n\r\n2\r\nHe\r\n", True, b"He"),
    (b"Transfer-Encoding: chunked\r\n\r\n2\r\nHe\r\nzz\r\n", False, b"He"),
    (b"\r\nHello", True, b"Hello"),
    (b"\r\n", True, b""),
]  # fmt: skip


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("rest", "eof", "body"), BODIES)
def test_the_body_of_a_rejection_is_read_as_far_as_it_can_be(
    rest: bytes, eof: bool, body: bytes, split: Split
) -> None:
    data = b"HTTP/1.1 404 Not Found\r\nX: 1\r\n" + rest
    response, _ = read_response(data, split, eof=eof)
    assert response is not None
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.headers["X"] == "1"
    assert response.body == body


@pytest.mark.parametrize(
    "head",
    [b"\r\n", b"Content-Length: 99999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"],
)
def test_a_body_is_cut_at_its_limit(head: bytes) -> None:
    def in_kibibytes(data: bytes) -> list[bytes]:
        return [data[i : i + 1000] for i in range(0, len(data), 1000)]

    data = b"HTTP/1.1 500 Oops\r\n" + head + b"x" * MAX_BODY + b"y" * MAX_BODY
    for split in (whole, lambda data: iter(in_kibibytes(data))):
        response, _ = read_response(data, split)
        assert response is not None
        assert response.body == b"x" * MAX_BODY


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_that_has_no_body_ends_with_its_head(status: int) -> None:
    response, _ = read_response(b"HTTP/1.1 %d X\r\n\r\n" % status, byte_by_byte)
    assert response == Response(status, "X", Headers())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x03\x03\x00\x02\x02\x16",  # a TLS alert
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"220 mail ESMTP\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 1010 X\r\n\r\n",
        b"HTTP/1.1 101 X\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 X\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * MAX_HEADER_SIZE + b"\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nX: " + b"a" * MAX_HEADER_SIZE + b"\r\n\r\n",
        b"HTTP/1.1 100 OK\r\n\r\nHTTP/1.1 101 OK\r\nX: " + b"a" * MAX_HEADER_SIZE + b"\r\n\r\n",
        b"HTTP/1.1 101 OK\r\n" + b"X: a\r\n" * MAX_HEADER_SIZE,
    ],
)
def test_what_is_not_a_response_is_an_invalid_message(data: bytes, split: Split) -> None:
    with pytest.raises(InvalidMessage):
        read_response(data, split)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_header_size": 41, "max_header_count": 3}, None),
        (
            {"max_header_size": 40},
            "HTTP header of 41 bytes or more exceeds the limit of 40 (max_header_size)",
        ),
        (
            {"max_header_count": 2},
            "3 HTTP header fields exceed the limit of 2 (max_header_count)",
        ),
    ],
)
@pytest.mark.parametrize("status", [101, 404])
def test_each_limit_of_a_response_is_named(
    limits: dict[str, Any], reason: str | None, status: int, split: Split
) -> None:
    data = b"HTTP/1.1 %d X\r\nA: 1\r\nB: 2\r\nLonger: 3\r\n\r\n" % status
    assert len(data) == 41
    reader = ResponseReader(**limits)

    def read() -> None:
        for piece in split(data):
            reader.feed(piece)
            reader.next_response()

    if reason is None:
        read()
    else:
        with pytest.raises(InvalidMessage, match=re.escape(reason)):
            read()


@pytest.mark.parametrize("split", SPLITS)
def test_the_body_of_a_response_does_not_count_as_its_head(split: Split) -> None:
    head = b"HTTP/1.1 404 X\r\nContent-Length: 5000\r\n\r\n"
    reader = ResponseReader(max_header_size=len(head))
    response = None
    for piece in split(head + b"x" * 5000):
        reader.feed(piece)
        response = response or reader.next_response()
    assert response is not None
    assert response.body == b"x" * 5000


@pytest.mark.parametrize("split", SPLITS)
def test_each_informational_head_has_its_own_limit(split: Split) -> None:
    early = b"HTTP/1.1 103 X\r\nX: " + b"a" * (MAX_HEADER_SIZE - 100) + b"\r\n\r\n"
    response, _ = read_response(early * 3 + b"HTTP/1.1 101 X\r\n\r\n", split)
    assert response == Response(101, "X", Headers())


@pytest.mark.parametrize(
    "data", [b"", b"H", b"HTTP/1.1 101 X\r\nA: 1\r\n", b"HTTP/1.1 100 X\r\n\r\n"]
)
def test_the_end_of_the_stream_within_a_head_says_so(data: bytes) -> None:
    with pytest.raises(InvalidMessage, match="ended before the response was complete"):
        read_response(data, whole, eof=True)
