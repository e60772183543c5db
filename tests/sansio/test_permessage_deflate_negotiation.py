"""Negotiating compression: every offer and every answer, on both sides (RFC 7692, section 7.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory as TheirClientFactory,
)
from websockets.extensions.permessage_deflate import (
    ServerPerMessageDeflateFactory as TheirServerFactory,
)

from anyio_ws.exceptions import NegotiationError
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    PerMessageDeflate,
    Request,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    State,
)
from anyio_ws.sansio.headers import ExtensionParameter, build_extension, parse_extensions

from .helpers import ClientFactory, ServerFactory, Suffix, read_http, state_of

NAME = "permessage-deflate"

Params = list[ExtensionParameter]


class Agreed(NamedTuple):
    """What an extension was made with: the server's and the client's part."""

    server_alone: bool
    client_alone: bool
    server_bits: int
    client_bits: int


def of_server(extension: object) -> Agreed:
    assert isinstance(extension, PerMessageDeflate)
    return Agreed(
        extension.local_no_context_takeover,
        extension.remote_no_context_takeover,
        extension.local_max_window_bits,
        extension.remote_max_window_bits,
    )


def of_client(extension: object) -> Agreed:
    assert isinstance(extension, PerMessageDeflate)
    return Agreed(
        extension.remote_no_context_takeover,
        extension.local_no_context_takeover,
        extension.remote_max_window_bits,
        extension.local_max_window_bits,
    )


def params(text: str) -> Params:
    """Read what follows the name in a header."""
    [(name, found)] = parse_extensions([f"{NAME}; {text}" if text else NAME])
    assert name == NAME
    return found


def wide_server(**options: Any) -> ServerPerMessageDeflateFactory:
    """A factory that asks for nothing unless it is told to."""
    options = {"server_max_window_bits": None, "client_max_window_bits": None, **options}
    return ServerPerMessageDeflateFactory(**options)


def wide_client(**options: Any) -> ClientPerMessageDeflateFactory:
    return ClientPerMessageDeflateFactory(**{"client_max_window_bits": None, **options})


# -- a server: offers and answers

SNC, CNC = "server_no_context_takeover", "client_no_context_takeover"
SMWB, CMWB = "server_max_window_bits", "client_max_window_bits"


@pytest.mark.parametrize(
    ("options", "offer", "answer", "agreed"),
    [
        ({}, "", "", Agreed(False, False, 15, 15)),
        ({}, SNC, SNC, Agreed(True, False, 15, 15)),
        ({}, CNC, CNC, Agreed(False, True, 15, 15)),
        ({}, f"{SMWB}=15", f"{SMWB}=15", Agreed(False, False, 15, 15)),
        ({}, f"{SMWB}=10", f"{SMWB}=10", Agreed(False, False, 10, 15)),
        ({}, f"{SMWB}=8", f"{SMWB}=8", Agreed(False, False, 8, 15)),
        ({}, f'{SMWB}="9"', f"{SMWB}=9", Agreed(False, False, 9, 15)),
        ({}, CMWB, "", Agreed(False, False, 15, 15)),
        ({}, f"{CMWB}=15", "", Agreed(False, False, 15, 15)),
        ({}, f"{CMWB}=10", f"{CMWB}=10", Agreed(False, False, 15, 10)),
        ({}, f"{CMWB}=8", f"{CMWB}=8", Agreed(False, False, 15, 8)),
        (
            {},
            f"{CMWB}=9; {SMWB}=11; {CNC}; {SNC}",
            f"{SNC}; {CNC}; {SMWB}=11; {CMWB}=9",
            Agreed(True, True, 11, 9),
        ),
        # What the server wants by itself.
        ({SNC: True}, "", SNC, Agreed(True, False, 15, 15)),
        ({SNC: True}, SNC, SNC, Agreed(True, False, 15, 15)),
        ({CNC: True}, "", CNC, Agreed(False, True, 15, 15)),
        ({SMWB: 12}, "", f"{SMWB}=12", Agreed(False, False, 12, 15)),
        ({SMWB: 12}, f"{SMWB}=10", f"{SMWB}=10", Agreed(False, False, 10, 15)),
        ({SMWB: 12}, f"{SMWB}=14", f"{SMWB}=12", Agreed(False, False, 12, 15)),
        # Only a client that says so can be told how large its window may be (7.1.2.2).
        ({CMWB: 12}, "", "", Agreed(False, False, 15, 15)),
        ({CMWB: 12}, CMWB, f"{CMWB}=12", Agreed(False, False, 15, 12)),
        ({CMWB: 12}, f"{CMWB}=10", f"{CMWB}=10", Agreed(False, False, 15, 10)),
        ({CMWB: 12}, f"{CMWB}=14", f"{CMWB}=12", Agreed(False, False, 15, 12)),
    ],
)
def test_a_server_answers_what_it_was_offered(
    options: dict[str, Any], offer: str, answer: str, agreed: Agreed
) -> None:
    answered, extension = wide_server(**options).process_request_params(params(offer), [])
    assert list(answered) == params(answer)
    assert of_server(extension) == agreed


def test_a_server_keeps_windows_small_by_default() -> None:
    factory = ServerPerMessageDeflateFactory()
    answered, extension = factory.process_request_params(params(CMWB), [])
    assert list(answered) == params(f"{SMWB}=12; {CMWB}=12")
    assert of_server(extension) == Agreed(False, False, 12, 12)


MALFORMED = [
    "x",
    "x=1",
    "Server_No_Context_Takeover",
    f"{SNC}=1",
    f"{SNC}=true",
    f"{CNC}=0",
    f"{SNC}; {SNC}",
    f"{CNC}; {CNC}",
    f"{SMWB}=10; {SMWB}=10",
    f"{SMWB}=10; {SMWB}=11",
    f"{CMWB}=10; {CMWB}=11",
    SMWB,
    *(
        f"{name}={value}"
        for name in (SMWB, CMWB)
        for value in ("7", "16", "0", "08", "012", "+9", "-9", "1e1", "9.0", "ten", "99999999999")
    ),
]


@pytest.mark.parametrize("offer", [*MALFORMED, f"{CMWB}; {CMWB}", f"{CMWB}; {CMWB}=10"])
def test_a_server_declines_an_offer_that_makes_no_sense(offer: str) -> None:
    with pytest.raises(NegotiationError, match=NAME):
        ServerPerMessageDeflateFactory().process_request_params(params(offer), [])


def test_digits_of_other_scripts_are_no_numbers() -> None:
    with pytest.raises(NegotiationError):
        wide_server().process_request_params([(SMWB, "\u0661\u0660")], [])


# -- a client: offers and answers


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        ({}, ""),
        ({SNC: True}, SNC),
        ({CNC: True}, CNC),
        ({SMWB: 10}, f"{SMWB}=10"),
        ({CMWB: True}, CMWB),
        ({CMWB: 9}, f"{CMWB}=9"),
        ({CMWB: 8}, f"{CMWB}=8"),
        (
            {SNC: True, CNC: True, SMWB: 8, CMWB: 15},
            f"{SNC}; {CNC}; {SMWB}=8; {CMWB}=15",
        ),
    ],
)
def test_a_client_offers_what_it_was_told(options: dict[str, Any], offer: str) -> None:
    assert list(wide_client(**options).get_request_params()) == params(offer)


def test_a_client_keeps_its_window_small_by_default() -> None:
    factory = ClientPerMessageDeflateFactory()
    assert list(factory.get_request_params()) == params(f"{CMWB}=12")
    extension = factory.process_response_params([], [])
    assert of_client(extension) == Agreed(False, False, 15, 12)


@pytest.mark.parametrize(
    ("options", "answer", "agreed"),
    [
        ({}, "", Agreed(False, False, 15, 15)),
        # Not asked for, and the server may (7.1.1.1, 7.1.1.2, 7.1.2.1).
        ({}, SNC, Agreed(True, False, 15, 15)),
        ({}, CNC, Agreed(False, True, 15, 15)),
        ({}, f"{SMWB}=10", Agreed(False, False, 10, 15)),
        ({}, f"{SMWB}=8", Agreed(False, False, 8, 15)),
        ({}, f"{SMWB}=15", Agreed(False, False, 15, 15)),
        ({SNC: True}, SNC, Agreed(True, False, 15, 15)),
        ({CNC: True}, CNC, Agreed(False, True, 15, 15)),
        ({CNC: True}, "", Agreed(False, True, 15, 15)),  # we keep what we said
        ({SMWB: 10}, f"{SMWB}=10", Agreed(False, False, 10, 15)),
        ({SMWB: 10}, f"{SMWB}=9", Agreed(False, False, 9, 15)),
        ({CMWB: True}, "", Agreed(False, False, 15, 15)),
        ({CMWB: True}, f"{CMWB}=8", Agreed(False, False, 15, 8)),
        ({CMWB: True}, f"{CMWB}=15", Agreed(False, False, 15, 15)),
        ({CMWB: 12}, "", Agreed(False, False, 15, 12)),  # we keep what we said (7.1.2.2)
        ({CMWB: 12}, f"{CMWB}=12", Agreed(False, False, 15, 12)),
        ({CMWB: 12}, f"{CMWB}=9", Agreed(False, False, 15, 9)),
        (
            {SNC: True, CNC: True, SMWB: 12, CMWB: 12},
            f"{CMWB}=10; {CNC}; {SMWB}=11; {SNC}",
            Agreed(True, True, 11, 10),
        ),
    ],
)
def test_a_client_takes_an_answer_that_fits_its_offer(
    options: dict[str, Any], answer: str, agreed: Agreed
) -> None:
    extension = wide_client(**options).process_response_params(params(answer), [])
    assert of_client(extension) == agreed


@pytest.mark.parametrize("allowed", [13, 15])
def test_a_client_is_not_put_off_by_a_server_that_allows_a_larger_window_than_it_wants(
    allowed: int,
) -> None:
    """The size in an offer is a hint, which a server may ignore (7.1.2.2)."""
    extension = wide_client(**{CMWB: 12}).process_response_params(params(f"{CMWB}={allowed}"), [])
    assert of_client(extension) == Agreed(False, False, 15, 12)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        *(({CMWB: True}, answer) for answer in MALFORMED),
        ({CMWB: True}, CMWB),  # only an offer may leave the number out
        ({SNC: True}, ""),
        ({SNC: True}, CNC),
        ({SMWB: 10}, ""),
        ({SMWB: 10}, f"{SMWB}=11"),
        ({}, f"{CMWB}=10"),  # we haven't said that we understand it
        ({}, f"{CMWB}=15"),
    ],
)
def test_a_client_refuses_an_answer_that_does_not_fit(options: dict[str, Any], answer: str) -> None:
    with pytest.raises(NegotiationError, match=NAME):
        wide_client(**options).process_response_params(params(answer), [])


# -- both


@pytest.mark.parametrize("make", [ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory])
@pytest.mark.parametrize(
    "options",
    [
        {SMWB: 7},
        {SMWB: 16},
        {SMWB: True},
        {SMWB: 12.0},
        {CMWB: 7},
        {CMWB: 16},
        {CMWB: False},
        {CMWB: "12"},
        {"level": -2},
        {"level": 10},
        {"level": None},
        {"mem_level": 0},
        {"mem_level": 10},
        {"threshold": -1},
        {"threshold": 1.5},
    ],
)
def test_a_setting_out_of_its_range_is_refused(
    make: Callable[..., object], options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"must be a number from"):
        make(**options)


flags = st.booleans()


def options(least: int, *further: Any) -> st.SearchStrategy[dict[str, Any]]:
    """All settings, with windows from *least* bits on."""
    bits = st.none() | st.integers(least, 15)
    return st.fixed_dictionaries(
        {SNC: flags, CNC: flags, SMWB: bits, CMWB: st.one_of(bits, *map(st.just, further))}
    )


@given(options(8, True), options(8))
def test_whatever_both_ends_want_they_agree(client: dict[str, Any], server: dict[str, Any]) -> None:
    ours, theirs = (
        ClientPerMessageDeflateFactory(**client),
        ServerPerMessageDeflateFactory(**server),
    )
    answer, at_server = theirs.process_request_params(ours.get_request_params(), [])
    at_client = ours.process_response_params(answer, [])
    seen, told = of_server(at_server), of_client(at_client)
    assert seen.server_alone == told.server_alone >= max(client[SNC], server[SNC])
    assert seen.client_alone == told.client_alone >= max(client[CNC], server[CNC])
    assert seen.server_bits == told.server_bits <= min(client[SMWB] or 15, server[SMWB] or 15)
    # The client's window may be smaller than the server knows, never larger.
    assert told.client_bits <= seen.client_bits


# websockets declines what zlib can't compress for, where we send uncompressed: so 9 is the least here.


@given(options(9, True))
def test_our_offers_are_understood_by_others(client: dict[str, Any]) -> None:
    ours = ClientPerMessageDeflateFactory(**client)
    answer, theirs = TheirServerFactory().process_request_params(ours.get_request_params(), [])
    told = of_client(ours.process_response_params(answer, []))
    assert told == Agreed(
        theirs.local_no_context_takeover,
        theirs.remote_no_context_takeover,
        theirs.local_max_window_bits,
        told.client_bits,
    )
    assert told.client_bits <= theirs.remote_max_window_bits


@given(options(9, True), options(9))
def test_our_answers_are_understood_by_others(
    client: dict[str, Any], server: dict[str, Any]
) -> None:
    theirs = TheirClientFactory(**client)
    ours = ServerPerMessageDeflateFactory(**server)
    answer, at_server = ours.process_request_params(theirs.get_request_params(), [])
    extension = theirs.process_response_params(answer, [])
    assert of_server(at_server) == Agreed(
        extension.remote_no_context_takeover,
        extension.local_no_context_takeover,
        extension.remote_max_window_bits,
        extension.local_max_window_bits,
    )


# -- in a handshake

REQUEST = (
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Extensions: {}\r\n\r\n"
)


def answer_to(offers: str, *factories: Any) -> tuple[list[str], ServerProtocol]:
    server = ServerProtocol(extensions=factories)
    server.receive_data(REQUEST.format(offers).encode())
    [request] = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    head = read_http(b"".join(server.data_to_send()))
    return head.fields.get("sec-websocket-extensions", []), server


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        # The examples of section 7.1.3.
        (NAME, [NAME]),
        (
            f"{NAME}; {CMWB}; {SMWB}=10",
            [f"{NAME}; {SMWB}=10"],
        ),
        (f"{NAME}; {CMWB}; {SMWB}=10, {NAME}; {CMWB}", [f"{NAME}; {SMWB}=10"]),
        # The first that is acceptable; declined by silence if none is.
        (f"{NAME}; {SMWB}=16, {NAME}; x, {NAME}; {SNC}, {NAME}", [f"{NAME}; {SNC}"]),
        (f"{NAME}; {SMWB}", []),
        ("x-webkit-deflate-frame, permessage-bzip2", []),
        (f"{NAME}, {NAME}", [NAME]),
    ],
)
def test_the_first_acceptable_offer_is_answered(offers: str, answer: list[str]) -> None:
    found, server = answer_to(offers, wide_server())
    assert found == answer
    assert len(server.extensions) == len(answer)
    assert state_of(server) is State.OPEN


@pytest.mark.parametrize("first", ["x-bang", NAME])
def test_a_server_accepts_one_extension_with_a_bit_at_most(first: str) -> None:
    second = {"x-bang": NAME, NAME: "x-bang"}[first]
    factories = [ServerFactory(Suffix("x-bang", b"!", 0x40)), wide_server()]
    found, server = answer_to(f"{first}, {second}", *factories)
    assert found == [first]
    assert [extension.name for extension in server.extensions] == [first]


@pytest.mark.parametrize("order", [("x-bang", NAME), (NAME, "x-bang"), (NAME, NAME)])
def test_a_client_refuses_two_extensions_with_the_same_bit(order: tuple[str, str]) -> None:
    client = ClientProtocol(
        "ws://h/",
        extensions=[ClientFactory(Suffix("x-bang", b"!", 0x40)), ClientPerMessageDeflateFactory()],
    )
    client.key = "dGhlIHNhbXBsZSBub25jZQ=="
    client.send_request(client.connect())
    client.receive_data(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Extensions: " + ", ".join(order).encode() + b"\r\n\r\n"
    )
    assert isinstance(client.handshake_exc, NegotiationError)


@pytest.mark.parametrize("bit", [0x20, 0x10])
def test_extensions_with_other_bits_may_stand_beside_it(bit: int) -> None:
    found, server = answer_to(
        f"x-other, {NAME}", ServerFactory(Suffix("x-other", b"!", bit)), wide_server()
    )
    assert found == [f"x-other, {NAME}"]
    assert len(server.extensions) == 2


def test_offers_are_tokens_that_any_server_can_read() -> None:
    factory = ClientPerMessageDeflateFactory(
        server_no_context_takeover=True, server_max_window_bits=9
    )
    header = build_extension(factory.name, factory.get_request_params())
    assert header == f"{NAME}; {SNC}; {SMWB}=9; {CMWB}=12"
