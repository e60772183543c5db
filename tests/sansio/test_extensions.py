"""The extension seam (RFC 6455, section 9), with extensions that exist only here."""

from __future__ import annotations

import pytest

from anyio_ws.exceptions import ProtocolViolation
from anyio_ws.sansio import (
    ClientExtensionFactory,
    ClientProtocol,
    Close,
    Extension,
    Fragment,
    Frame,
    Protocol,
    ServerExtensionFactory,
    ServerProtocol,
    Side,
    State,
)

from .helpers import (
    CONT,
    PING,
    SIDES,
    SPLITS,
    TEXT,
    ClientFactory,
    Raw,
    ServerFactory,
    Split,
    Suffix,
    Swell,
    binary,
    close,
    connection,
    feed,
    more,
    ping,
    pong,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)
however_cut = pytest.mark.parametrize("split", SPLITS)

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10


def bang() -> Suffix:
    return Suffix("x-bang", b"!", RSV1)


@pytest.mark.parametrize("base", [Extension, ClientExtensionFactory, ServerExtensionFactory])
def test_what_an_extension_must_have_is_abstract(base: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        base()


@both_sides
def test_data_frames_are_encoded_and_control_frames_are_not(side: Side) -> None:
    protocol = connection(side, extensions=[bang()])
    protocol.send_text(b"a")
    protocol.send_binary(b"b", fin=False)
    protocol.send_ping(b"c")
    protocol.send_continuation(b"d", True)
    protocol.send_pong(b"e")
    protocol.send_close(1000)
    assert written(protocol).frames == [
        Raw(TEXT, b"a!", rsv=RSV1),
        binary(b"b!", fin=False)._replace(rsv=RSV1),
        ping(b"c"),
        Raw(CONT, b"d!", rsv=RSV1),
        pong(b"e"),
        close(1000),
    ]


@both_sides
@however_cut
def test_data_frames_are_decoded_and_control_frames_are_not(side: Side, split: Split) -> None:
    raws = [
        Raw(TEXT, b"a!", rsv=RSV1),
        text("plain!"),
        Raw(TEXT, b"\xe2!", False, RSV1),
        ping(b"c!"),
        Raw(CONT, b"\x82!", False, RSV1),
        more(b"\xac", fin=True),
    ]
    protocol = connection(side, extensions=[bang()])
    feed(protocol, to(side, *raws), split)
    assert protocol.events_received() == [
        Frame(TEXT, b"a"),
        Frame(TEXT, b"plain!"),
        Frame(TEXT, b"\xe2", False),
        Frame(PING, b"c!"),
        Frame(CONT, b"\x82", False),
        Frame(CONT, b"\xac"),
    ]
    protocol = connection(side, extensions=[bang()])
    protocol.collect_messages()
    feed(protocol, to(side, *raws), split)
    assert protocol.messages_received() == [
        "a",
        "plain!",
        Fragment("", False),
        Frame(PING, b"c!"),
        Fragment("", False),
        Fragment("€", True),
    ]


@both_sides
@however_cut
@pytest.mark.parametrize(
    ("raws", "code"),
    [
        ([Raw(TEXT, b"a!", rsv=RSV2)], 1002),
        ([Raw(TEXT, b"a!", rsv=RSV1 | RSV3)], 1002),
        ([Raw(PING, b"!", rsv=RSV1)], 1002),
        ([close(1000)._replace(rsv=RSV1)], 1002),
        ([Raw(TEXT, b"a?", rsv=RSV1)], 1002),  # the extension's own objection
        ([Raw(TEXT, b"\xff!", rsv=RSV1)], 1007),
        ([Raw(TEXT, b"\xe2\x82!", rsv=RSV1)], 1007),
        ([Raw(TEXT, b"\xe2!", False, RSV1), Raw(CONT, b"(!", False, RSV1)], 1007),
        ([text(b"\xff")], 1007),
    ],
)
def test_what_an_extension_does_not_allow_fails_the_connection(
    side: Side, split: Split, raws: list[Raw], code: int
) -> None:
    protocol = connection(side, extensions=[bang()])
    feed(protocol, to(side, Raw(TEXT, b"ok!", rsv=RSV1), *raws, text("never")), split)
    assert len(protocol.events_received()) == len(raws)
    [sent], eof = written(protocol)
    assert Close.parse(sent.payload).code == code
    assert eof == (side is Side.SERVER)
    protocol.receive_eof()
    assert isinstance(protocol.close_exc.__cause__, ProtocolViolation)


@both_sides
def test_a_bit_without_its_extension_is_judged_by_the_header_alone(side: Side) -> None:
    wire = to(side, Raw(TEXT, bytes(1000), rsv=RSV2))
    protocol = connection(side, extensions=[bang()])
    protocol.receive_data(wire[:4])
    assert state_of(protocol) is State.CLOSING


@both_sides
def test_extensions_are_applied_in_order_and_undone_in_reverse(side: Side) -> None:
    first, second = bang(), Suffix("x-query", b"?", RSV2)
    protocol = connection(side, extensions=[first, second])
    assert protocol.extensions == (first, second)
    protocol.send_text(b"a")
    assert written(protocol).frames == [Raw(TEXT, b"a!?", rsv=RSV1 | RSV2)]
    protocol.receive_data(to(side, Raw(TEXT, b"a!?", rsv=RSV1 | RSV2)))
    assert protocol.events_received() == [Frame(TEXT, b"a")]


@both_sides
@however_cut
def test_the_limit_is_for_what_comes_out_of_an_extension(side: Side, split: Split) -> None:
    for obedient in (True, False):
        protocol = connection(side, max_size=100, extensions=[Swell(obedient=obedient)])
        feed(
            protocol,
            to(side, Raw(TEXT, b"x" * 10, rsv=RSV1), Raw(TEXT, b"x" * 11, rsv=RSV1)),
            split,
        )
        assert protocol.events_received() == [Frame(TEXT, b"x" * 100)]
        [sent] = written(protocol).frames
        assert Close.parse(sent.payload).code == 1009


@both_sides
def test_an_extension_is_told_how_much_room_the_message_has_left(side: Side) -> None:
    extension = Swell()
    protocol = connection(side, max_size=100, extensions=[extension])
    raws = [
        Raw(TEXT, b"12345", False, RSV1),
        Raw(CONT, b"123", False),
        Raw(CONT, b"1234", True, RSV1),
    ]
    protocol.receive_data(to(side, *raws, text("x")))
    assert extension.room == [100, 50, 47, 100]
    assert state_of(protocol) is State.OPEN
    assert len(protocol.events_received()) == 4

    unlimited = Swell()
    protocol = connection(side, max_size=None, extensions=[unlimited])
    protocol.receive_data(to(side, *raws))
    assert unlimited.room == [None, None, None]


@both_sides
def test_a_budget_counts_what_comes_out_of_an_extension(side: Side) -> None:
    protocol = connection(side, extensions=[Swell()])
    protocol.budget = 1000
    protocol.receive_data(to(side, *(Raw(TEXT, b"x" * 100, rsv=RSV1) for _ in range(5))))
    for _ in range(4):
        assert len(protocol.events_received()) == 1
        assert protocol.input_pending
        protocol.receive_data(b"")
    assert len(protocol.events_received()) == 1
    assert not protocol.input_pending


def test_two_ends_that_negotiated_an_extension_understand_each_other() -> None:
    client = ClientProtocol("ws://h/", extensions=[ClientFactory(bang(), [("mode", "loud")])])
    server = ServerProtocol(extensions=[ServerFactory(bang(), [("ok", None)])])
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    [request] = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]  # it is a request
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    assert [extension.name for extension in client.extensions] == ["x-bang"]
    ends: list[tuple[Protocol, Protocol]] = [(client, server), (server, client)]
    for sender, receiver in ends:
        sender.send_text(b"hi", fin=False)
        sender.send_ping(b"?")
        sender.send_continuation(b"", True)
        receiver.receive_data(b"".join(sender.data_to_send()))
        assert receiver.events_received() == [
            Frame(TEXT, b"hi", False),
            Frame(PING, b"?"),
            Frame(CONT, b""),
        ]
        receiver.data_to_send()
