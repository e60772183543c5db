"""The grammars of headers that say who and where somebody is, tried on what hypothesis makes up."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws.exceptions import InvalidHeader
from anyio_ws.sansio.headers import build_host, parse_host
from anyio_ws.sansio.uri import same_origin

quick = settings(deadline=None, max_examples=300)

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
