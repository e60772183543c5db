"""JSON: sent and received, by whom it is encoded, and decoded into types."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeAlias

import anyio
import msgspec
import pydantic
import pytest
from pydantic import Field
from typing_extensions import TypedDict

from anyio_ws import ClientConfig, ConnectionClosedError, InvalidJSON, json_codecs
from anyio_ws.options import ClientOptions, ServerOptions

from ..sansio.helpers import BINARY, TEXT, binary, close, text
from .helpers import client_and_peer, connected, server_and_peer, settle

Codec: TypeAlias = Literal["stdlib", "msgspec", "orjson"]

every_codec = pytest.mark.parametrize("codec", ["stdlib", "msgspec", "orjson"])


class Struct(msgspec.Struct):
    symbol: str
    bid: float


class Model(pydantic.BaseModel):
    symbol: str
    bid: float


@dataclasses.dataclass
class Data:
    symbol: str
    bid: float


@pydantic.dataclasses.dataclass
class ModelData:
    symbol: str
    bid: float


class Typed(TypedDict):
    symbol: str
    bid: float


TRADE = '{"symbol":"EURUSD","bid":1.0953}'

TYPES: list[tuple[Any, object]] = [
    (Struct, Struct("EURUSD", 1.0953)),
    (Model, Model(symbol="EURUSD", bid=1.0953)),
    (Data, Data("EURUSD", 1.0953)),
    (ModelData, ModelData("EURUSD", 1.0953)),
    (Typed, {"symbol": "EURUSD", "bid": 1.0953}),
    (dict[str, str | float], {"symbol": "EURUSD", "bid": 1.0953}),
    (object, {"symbol": "EURUSD", "bid": 1.0953}),
]


# -- sending


@every_codec
async def test_an_object_is_sent_as_compact_text_in_utf_8(codec: Codec) -> None:
    async with client_and_peer(json=codec) as (ws, peer):
        await ws.send_json({"who": "Zoë", "n": [1, 2.5, None, True]})
        await ws.send_json(who="Zoë")
        await ws.send_json([])
        await ws.send_json(None)
        frames = [await peer.receive() for _ in range(4)]
        assert {frame.opcode for frame in frames} == {TEXT}
        assert [frame.payload.decode() for frame in frames] == [
            '{"who":"Zoë","n":[1,2.5,null,true]}',
            '{"who":"Zoë"}',
            "[]",
            "null",
        ]


@every_codec
async def test_it_is_binary_where_that_is_asked_for(codec: Codec) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await ws.send_json({"a": "ä"}, text=False)
        frame = await peer.receive()
        assert (frame.opcode, frame.payload) == (BINARY, '{"a":"ä"}'.encode())


async def test_members_are_an_object_and_exclude_another() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send_json(self="is", obj="too")
        assert (await peer.receive()).payload == b'{"self":"is","obj":"too"}'
        await ws.send_json()
        assert (await peer.receive()).payload == b"{}"
        with pytest.raises(TypeError, match="not both"):
            await ws.send_json({}, a=1)


@every_codec
@pytest.mark.parametrize("value", [value for kind, value in TYPES if kind is not object])
async def test_what_can_be_received_can_be_sent(codec: Codec, value: object) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await ws.send_json(value)
        await ws.send_json([value])
        assert (await peer.receive()).payload.decode() == TRADE
        assert (await peer.receive()).payload.decode() == f"[{TRADE}]"


@every_codec
@pytest.mark.parametrize("bad", [object(), {"a": [object()]}, {(1, 2): 3}])
async def test_what_can_not_be_encoded_is_a_type_error_and_harms_nothing(
    codec: Codec, bad: object
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        with pytest.raises(TypeError):
            await ws.send_json(bad)
        await ws.send_json("fine")
        assert await peer.receive() == text('"fine"')


@every_codec
async def test_a_circle_is_an_error_that_harms_nothing(codec: Codec) -> None:
    circle: list[object] = []
    circle.append(circle)
    async with server_and_peer(json=codec) as (ws, peer):
        with pytest.raises((TypeError, ValueError)):
            await ws.send_json(circle)
        await ws.send_json("fine")
        assert await peer.receive() == text('"fine"')


@pytest.mark.parametrize("bad", [math.nan, [math.inf], "\ud800"])
async def test_what_is_no_json_is_not_sent_by_the_standard_library(bad: object) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(ValueError, match=r"Out of range|surrogates"):
            await ws.send_json(bad)
        await ws.send_json("fine")
        assert await peer.receive() == text('"fine"')


async def test_it_waits_as_send_does_and_a_cancelled_one_sends_nothing() -> None:
    async with server_and_peer(buffer=1000, write_limit=0) as (ws, peer):
        await ws.send(bytes(5000))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.send_json, {"never": "sent"})
                await settle()
                scope.cancel()
        assert (await peer.receive()).payload == bytes(5000)
        await ws.send_json({"after": 1})
        assert await peer.receive() == text('{"after":1}')


# -- receiving


@every_codec
async def test_a_message_is_decoded_whichever_type_it_is_of(codec: Codec) -> None:
    async with client_and_peer(json=codec) as (ws, peer):
        expected = {"who": "Zoë", "n": [1, 2.5, None, True]}
        message = json.dumps(expected, ensure_ascii=False)
        await peer.send(text(message), binary(message.encode()))
        assert await ws.receive_json() == expected
        assert await ws.receive_json() == expected


@every_codec
@pytest.mark.parametrize(
    "bad",
    ["", "[1,", "nope", "NaN", "[-Infinity]", b"\xff", b'"\xff"', "[" * 50_000, '{"a":1}x'],
    ids=lambda bad: repr(bad[:9]),
)
async def test_what_is_no_json_is_in_the_exception_and_nothing_else_happens(
    codec: Codec, bad: str | bytes
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await peer.send(text(bad) if isinstance(bad, str) else binary(bad), text("5"))
        with pytest.raises(InvalidJSON) as caught:
            await ws.receive_json()
        assert caught.value.message == bad
        assert caught.value.__cause__ is not None
        assert isinstance(caught.value, ValueError)
        assert len(str(caught.value)) < 200
        assert await ws.receive_json() == 5
        await ws.send("still open")
        assert (await peer.receive()).payload == b"still open"


@every_codec
@pytest.mark.parametrize(("kind", "value"), TYPES)
@pytest.mark.parametrize("message", [text(TRADE), binary(TRADE.encode())], ids=["text", "binary"])
async def test_a_message_is_decoded_into_a_type(
    codec: Codec, kind: Any, value: object, message: Any
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await peer.send(message, text(f"[{TRADE}]"))
        received = await ws.receive_json(kind)
        assert received == value
        assert type(received) is type(value)
        assert await ws.receive_json(list[kind]) == [value]


@every_codec
@pytest.mark.parametrize("kind", [Struct, Model, Data, ModelData, Typed])
@pytest.mark.parametrize("bad", ['{"symbol": 5}', "[]", "[1,", "[" * 50_000], ids=repr)
async def test_what_does_not_fit_the_type_is_in_the_exception_and_nothing_else_happens(
    codec: Codec, kind: Any, bad: str
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await peer.send(text(bad), text(TRADE))
        with pytest.raises(InvalidJSON) as caught:
            await ws.receive_json(kind)
        assert caught.value.message == bad
        assert caught.value.__cause__ is not None
        assert await ws.receive_json() == json.loads(TRADE)


@every_codec
async def test_types_that_are_neither_librarys_are_decoded_strictly_by_whichever(
    codec: Codec,
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await peer.send(text('{"symbol":"X","bid":"1.5"}'), text('"2026-11-22T00:00:00Z"'))
        with pytest.raises(InvalidJSON):
            await ws.receive_json(Data)
        moment = await ws.receive_json(datetime.datetime)
        assert moment == datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


async def test_a_model_says_itself_how_strict_it_is() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text('{"symbol":"X","bid":"1.5"}'))
        assert (await ws.receive_json(Model)).bid == 1.5


LIST_IN_IT: Any = Annotated[int, msgspec.Meta(gt=0, examples=[1])]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Annotated[int, msgspec.Meta(gt=0)], "1", "0"),
        (LIST_IN_IT, "1", "0"),
        (list[Annotated[int, Field(gt=0)]], "[1]", "[0]"),
        (int | str, "1", "1.5"),
        (Struct | None, "null", "1"),
        (Literal["a", "b"], '"a"', '"c"'),
    ],
    ids=str,
)
async def test_a_type_is_decoded_by_the_library_that_it_names(
    kind: Any, good: str, bad: str
) -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text(good), text(bad))
        assert await ws.receive_json(kind) == json.loads(good)
        with pytest.raises(InvalidJSON):
            await ws.receive_json(kind)


@every_codec
async def test_a_type_that_nobody_knows_is_a_type_error_and_nothing_is_received(
    codec: Codec,
) -> None:
    async with server_and_peer(json=codec) as (ws, peer):
        await peer.send(text("1"))
        with pytest.raises(TypeError, match="msgspec"):
            await ws.receive_json(5)
        with pytest.raises(TypeError, match="msgspec"):
            ws.iter_json(5)
        assert await ws.receive_json() == 1


async def test_types_follow_from_what_is_asked_for() -> None:
    """A type checker knows: there is no cast here."""
    async with server_and_peer() as (ws, peer):
        await peer.send(text(TRADE), text(f"[{TRADE}]"), text(TRADE))
        trade: Struct = await ws.receive_json(Struct)
        trades: list[Data] = await ws.receive_json(list[Data])
        trades_to_come: AsyncIterator[Struct] = ws.iter_json(Struct)
        assert trade.bid == trades[0].bid == (await anext(trades_to_come)).bid


async def test_a_cancelled_receive_json_loses_nothing() -> None:
    async with server_and_peer() as (ws, peer):
        with anyio.move_on_after(0):
            await ws.receive_json(Struct)
        await peer.send(text(TRADE))
        assert await ws.receive_json(Struct) == Struct("EURUSD", 1.0953)


# -- iterating


async def test_iterating_ends_as_iterating_over_the_connection_does() -> None:
    async with connected() as (client, server):
        await server.send_json(symbol="A", bid=1)
        await server.send_json(symbol="B", bid=2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.aclose)
            received = [trade async for trade in client.iter_json(Struct)]
            assert received == [Struct("A", 1), Struct("B", 2)]


async def test_iterating_raises_when_the_connection_ends_badly() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"), close(1011))
        numbers = ws.iter_json()
        assert await anext(numbers) == 1
        with pytest.raises(ConnectionClosedError):
            await anext(numbers)


async def test_iterating_goes_on_after_a_message_that_is_no_json() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"), text("nope"), text("2"))
        numbers = ws.iter_json(int)
        assert await anext(numbers) == 1
        with pytest.raises(InvalidJSON):
            await anext(numbers)
        assert await anext(numbers) == 2


# -- who encodes


class Decimals:
    """A codec of one's own: numbers are decimal, and what is sent is easily told from others'."""

    def encode(self, obj: object, /) -> str | bytes:
        return b"  " + json.dumps(obj).encode()

    def decode(self, data: str | bytes, /) -> object:
        return json.loads(data, parse_float=decimal.Decimal)


class Price(msgspec.Struct):
    bid: decimal.Decimal


class PriceModel(pydantic.BaseModel):
    bid: decimal.Decimal


async def test_a_codec_of_your_own_encodes_and_decodes_also_what_becomes_of_a_type() -> None:
    async with server_and_peer(json=Decimals()) as (ws, peer):
        await ws.send_json([1])
        assert await peer.receive() == text("  [1]")
        precise = '{"bid":0.1000000000000000055511151231257827}'
        await peer.send(*[text(precise)] * 3)
        bid = decimal.Decimal("0.1000000000000000055511151231257827")
        assert await ws.receive_json() == {"bid": bid}
        assert (await ws.receive_json(Price)).bid == bid
        assert (await ws.receive_json(PriceModel)).bid == bid


class Latin:
    def encode(self, obj: object, /) -> bytes:
        return str(obj).encode("latin-1")

    def decode(self, data: str | bytes, /) -> object:
        return data


async def test_what_a_codec_of_your_own_makes_is_checked_before_it_is_sent_as_text() -> None:
    async with server_and_peer(json=Latin()) as (ws, peer):
        with pytest.raises(UnicodeDecodeError):
            await ws.send_json("é")
        await ws.send_json("é", text=False)
        assert await peer.receive() == binary(b"\xe9")


async def test_each_side_has_its_own() -> None:
    client, server = ClientOptions(json="orjson"), ServerOptions(json="msgspec")
    async with connected(client=client, server=server) as (ours, theirs):
        await ours.send_json(Data("A", 1))
        assert await theirs.receive_json(Struct) == Struct("A", 1)


@pytest.mark.parametrize("name", ["msgspec", "orjson"])
def test_a_library_that_is_not_installed_is_told_when_the_option_is_given(
    name: Literal["msgspec", "orjson"], monkeypatch: pytest.MonkeyPatch
) -> None:
    json_codecs._named.cache_clear()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {name}") as caught:
        ClientConfig(json=name)
    assert caught.value.name == name


NEITHER = """
import sys
sys.modules.update(msgspec=None, pydantic=None, orjson=None)
import dataclasses
from anyio_ws import json_codecs

@dataclasses.dataclass
class Data:
    a: int

print(json_codecs.json_encoder("stdlib")([Data(1)]))
print(json_codecs.json_decoder("stdlib")('{"a": 1}'))
try:
    json_codecs.json_decoder("stdlib", Data)
except TypeError as exc:
    print(exc)
"""


def test_without_any_library_json_is_the_standard_librarys_and_a_type_is_a_clear_error() -> None:
    command = [sys.executable, "-c", NEITHER]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    encoded, decoded, error = done.stdout.splitlines()
    assert (encoded, decoded) == ('[{"a":1}]', "{'a': 1}")
    assert "Data" in error
    assert "pydantic isn't installed (pip install 'anyio-ws[pydantic]'); msgspec isn't" in error


ONE = """
import sys
sys.modules[{missing!r}] = None
import dataclasses
from anyio_ws import json_codecs

@dataclasses.dataclass
class Data:
    a: int

decode = json_codecs.json_decoder("stdlib", Data)
print(decode('{{"a": 1}}'))
try:
    decode('{{"a": "1"}}')
except ValueError as exc:
    print(type(exc).__name__)
"""


@pytest.mark.parametrize("missing", ["msgspec", "pydantic"])
def test_either_library_alone_decodes_plain_types_alike(missing: str) -> None:
    command = [sys.executable, "-c", ONE.format(missing=missing)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout == "Data(a=1)\nInvalidJSON\n"
