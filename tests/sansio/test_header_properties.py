"""The grammars of headers that say who and where somebody is, tried on what hypothesis makes up."""

from __future__ import annotations

import datetime
import email.utils
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws.exceptions import InvalidHeader
from anyio_ws.sansio.headers import (
    MAX_FORWARDED,
    IPAddress,
    build_basic,
    build_host,
    parse_basic,
    parse_date,
    parse_forwarded_for,
    parse_host,
    parse_retry_after,
)
from anyio_ws.sansio.uri import same_origin

from .test_headers import basic

CONTROLS = "".join(map(chr, [*range(32), 127]))

quick = settings(max_examples=100)

anything = st.text(st.characters(max_codepoint=0xFF))  # what a header may be read as
of_pieces = st.lists(
    st.sampled_from(
        [
            "1",
            "127.0.0.1",
            "::1",
            "[",
            "]",
            ":",
            ".",
            ",",
            " ",
            "%",
            "example",
            "80",
            "http://",
            "é",
        ]
    )
).map("".join)
values = anything | of_pieces

addresses = st.ip_addresses().map(str)
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


@quick
@given(values)
def test_any_host_is_split_or_an_invalid_header(value: str) -> None:
    with suppress(InvalidHeader):
        host, port = parse_host(value)
        assert host
        assert port is None or 0 <= port < 2**16
        assert parse_host(build_host(host, port or 80, secure=False))[0] == host


@quick
@given(addresses | names, st.integers(0, 2**16 - 1))
def test_a_host_is_read_as_it_is_written(host: str, port: int) -> None:
    assert parse_host(build_host(host, port, secure=False)) == (host, None if port == 80 else port)
    assert parse_host(build_host(host, port, secure=False).upper())[0] == host


@quick
@given(values, values)
def test_any_origin_is_the_same_or_not(origin: str, host: str) -> None:
    assert same_origin(origin, host) in (True, False)
    same_origin(f"http://{host}", host)


@quick
@given(values | values.map("Basic {}".format) | st.binary().map(basic))
def test_any_authorization_has_credentials_or_none(value: str) -> None:
    credentials = parse_basic(value)
    if credentials is not None:
        assert ":" not in credentials[0]
        assert parse_basic(build_basic(*credentials)) == credentials


not_controls = st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS)


@quick
@given(st.text(not_controls).filter(lambda name: ":" not in name), st.text(not_controls))
def test_credentials_are_read_as_they_are_written(username: str, password: str) -> None:
    assert parse_basic(build_basic(username, password)) == (username, password)
    with suppress(UnicodeEncodeError):
        latin = f"{username}:{password}".encode("iso-8859-1")
        with suppress(UnicodeDecodeError):
            latin.decode()
            return  # that can't be told from UTF-8
        assert parse_basic(basic(latin)) == (username, password)


forwarded = st.lists(values | addresses | st.lists(addresses | values).map(", ".join))


@quick
@given(forwarded)
def test_any_forwarded_for_is_some_addresses(given_values: list[str]) -> None:
    found = list(parse_forwarded_for(given_values))
    assert len(found) <= MAX_FORWARDED
    assert all(isinstance(one, IPAddress) for one in found)


@quick
@given(forwarded, st.lists(st.ip_addresses(v=4).map(str), max_size=5))
def test_what_a_client_sends_does_not_change_what_proxies_added(
    sent: list[str], added: list[str]
) -> None:
    for values in [*sent, *added], [", ".join([*sent, *added])]:
        found = [str(one) for one in parse_forwarded_for(values)]
        assert found[: len(added)] == added[::-1]


dates = st.datetimes(timezones=st.just(datetime.UTC)).map(lambda when: when.replace(microsecond=0))


@quick
@given(dates)
def test_a_date_that_was_written_is_read(when: datetime.datetime) -> None:
    seconds = (when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()
    assert parse_date(email.utils.format_datetime(when, usegmt=True)) == seconds


of_dates = st.lists(
    st.sampled_from(
        ["Sun", ",", " ", "06", "6", "Nov", "1994", "08:49:37", "GMT", "Sunday", "-", "\xb2"]
    )
).map("".join)


@quick
@given(anything | of_dates, anything | of_dates)
def test_any_retry_after_is_seconds_or_nothing(value: str, date: str) -> None:
    seconds = parse_retry_after(value, date)
    assert seconds is None or 0 <= seconds < 10**12
