"""JSON for `WebSocket.send_json` and `receive_json`: who encodes it, and who decodes it into a type.

The option ``json`` says who encodes, and who decodes where no type is asked for. A type is decoded by the
library that it is of, straight out of the message; `_library_of` and `_find_typed` have the rules. Libraries
are imported when they are asked for, and not before.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, Final, Generic, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from .exceptions import InvalidJSON, shortened

__all__ = [
    "ANYTHING",
    "DecodedMessages",
    "JSONCodec",
    "JSONOption",
    "check_codec",
    "json_decoder",
    "json_encoder",
]

T_co = TypeVar("T_co", covariant=True)


class JSONCodec(typing.Protocol):
    """What encodes and decodes JSON in place of a library that we know; see the option ``json``."""

    def encode(self, obj: object, /) -> str | bytes:
        """Return *obj* as JSON; `bytes` are UTF-8. Raise `TypeError` or `ValueError` if that's impossible."""
        ...

    def decode(self, data: str | bytes, /) -> object:
        """Return what *data*, a message, holds. Raise `ValueError` if it isn't JSON."""
        ...


JSONOption: TypeAlias = Literal["stdlib", "msgspec", "orjson"] | JSONCodec
"""See `ClientConfig.json`."""

_type: Final = type

ANYTHING: Final = object()
"""In place of a type: whatever the JSON is."""


def check_codec(option: object) -> None:
    """Check what is given as the option ``json``.

    :raises ValueError: there is no such library
    :raises TypeError: it is no codec
    :raises ModuleNotFoundError: the library isn't installed
    """
    if isinstance(option, str):
        _named(option)
    elif isinstance(option, type) or not all(
        callable(getattr(option, name, None)) for name in ("encode", "decode")
    ):
        raise TypeError(f"json must be a name or an object with encode and decode, not {option!r}")


def json_encoder(option: JSONOption) -> Callable[[object], str | bytes]:
    """Return what encodes an object."""
    codec = _named(option) if isinstance(option, str) else option
    return partial(_encoded, codec.encode)


def json_decoder(option: JSONOption, type: object = ANYTHING) -> Callable[[str | bytes], Any]:
    """Return what decodes a message into *type*, and raises `InvalidJSON` if it can't.

    :raises TypeError: no library that is installed knows how to decode into *type*
    """
    codec = _named(option) if isinstance(option, str) else option
    if type is ANYTHING:
        return partial(_decoded, codec.decode)
    typed = _typed(type, by_msgspec=isinstance(option, str) and option == "msgspec")
    if isinstance(option, str):
        return partial(_decoded, typed.of_json)
    return partial(_decoded, lambda message: typed.of_objects(codec.decode(message)))


def _encoded(encode: Callable[[object], str | bytes], obj: object) -> str | bytes:
    try:
        return encode(obj)
    except RecursionError as exc:
        raise ValueError("JSON can't have a circle, nor be nested so deep") from exc


def _decoded(decode: Callable[[str | bytes], object], message: str | bytes) -> object:
    try:
        return decode(message)
    except (ValueError, RecursionError) as exc:  # a peer may nest as deep as a message is long
        raise InvalidJSON(message, shortened(" ".join(str(exc).split()))) from exc


class DecodedMessages(AsyncIterator[T_co], Generic[T_co]):
    """What the messages of an iterator hold. No generator: one that raises could not go on."""

    __slots__ = ("_decode", "_messages")

    def __init__(
        self, messages: AsyncIterator[str | bytes], decode: Callable[[str | bytes], T_co]
    ) -> None:
        self._messages = messages
        self._decode = decode

    async def __anext__(self) -> T_co:
        return self._decode(await anext(self._messages))


# Who encodes, and decodes what has no type.


@dataclass(frozen=True, slots=True)
class _Functions:
    """A codec made of two functions."""

    encode: Callable[[object], str | bytes]
    decode: Callable[[str | bytes], object]


@cache
def _named(name: str) -> JSONCodec:
    makers = {"stdlib": _stdlib, "msgspec": _msgspec, "orjson": _orjson}
    if name not in makers:
        raise ValueError(f"json must be {', '.join(map(repr, makers))} or a codec; got {name!r}")
    try:
        return makers[name]()
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            f"json={name!r} takes {name}, which isn't installed: pip install {name}", name=name
        ) from exc


def _stdlib() -> _Functions:
    # RFC 8259: neither NaN nor the infinities are JSON, and it is UTF-8.
    encoder = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
    )
    decoder = json.JSONDecoder(parse_constant=_no_json)

    def decode(data: str | bytes) -> object:
        return decoder.decode(data if isinstance(data, str) else data.decode())

    return _Functions(encoder.encode, decode)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} isn't JSON")


def _msgspec() -> _Functions:
    import msgspec

    return _Functions(msgspec.json.Encoder(enc_hook=_plain).encode, msgspec.json.decode)


def _orjson() -> _Functions:
    import orjson

    return _Functions(partial(orjson.dumps, default=_plain), orjson.loads)


def _plain(obj: object) -> object:
    """Make what an encoder doesn't know of what it does: what can be received can be sent.

    :raises TypeError: it isn't a dataclass, nor of msgspec or pydantic
    """
    kind: Any = type(obj)
    library = _library_of(kind)
    if library == "pydantic":
        return _pydantic_adapter(kind).dump_python(obj, mode="json")
    if library == "msgspec":
        import msgspec

        return msgspec.to_builtins(obj, enc_hook=_plain)
    if dataclasses.is_dataclass(obj):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    raise TypeError(f"an object of type {kind.__name__} can't be encoded as JSON")


# Who decodes into a type.


class _Typed(NamedTuple):
    """How a type is made."""

    of_json: Callable[[str | bytes], object]
    of_objects: Callable[[object], object]
    """Of what a codec has made of JSON."""


def _typed(type: object, *, by_msgspec: bool) -> _Typed:
    try:
        hash(type)
    except TypeError:  # Annotated with a list, say
        return _find_typed(type, by_msgspec)
    return _typed_once(type, by_msgspec)


def _find_typed(type: object, by_msgspec: bool) -> _Typed:
    """Find who makes *type*: its own library. What has none is made by the codec's, or by one that can.

    :param by_msgspec: the codec's is msgspec
    :raises TypeError: there is none
    """
    library = _library_of(type)
    if library is None and by_msgspec:
        library = "msgspec"
    makers = {"pydantic": _typed_by_pydantic, "msgspec": _typed_by_msgspec}
    said: list[str] = []
    for name in [library] if library else makers:
        try:
            return makers[name](type, own=library == name)
        except ModuleNotFoundError:
            said.append(f"{name} isn't installed (pip install 'anyio-ws[{name}]')")
        except TypeError as exc:
            said.append(f"{name}: {exc}")
    raise TypeError(
        f"{type!r} takes pydantic or msgspec to be decoded into, one that knows it: {'; '.join(said)}"
    )


_typed_once: Final = lru_cache(maxsize=256)(_find_typed)


def _typed_by_msgspec(type: object, *, own: bool) -> _Typed:
    import msgspec

    decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(type)
    return _Typed(decoder.decode, partial(msgspec.convert, type=type))


def _typed_by_pydantic(type: object, *, own: bool) -> _Typed:
    adapter = _pydantic_adapter(type)
    # A type of pydantic's says itself what it takes for a number. With others it must not matter which
    # library is installed: msgspec is strict.
    of_json = partial(adapter.validate_json, strict=None if own else True)
    return _Typed(of_json, adapter.validate_python)


@lru_cache(maxsize=256)
def _pydantic_adapter(type: Any) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(type)
    except (pydantic.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as exc:
        raise TypeError(str(exc).partition("\n")[0]) from exc


def _library_of(type: object) -> str | None:
    """Whose *type* is: msgspec's, pydantic's, or neither's. What is in brackets counts, too."""
    for part in _parts(type):
        kind = part if isinstance(part, _type) else _type(part)
        if hasattr(kind, "__pydantic_core_schema__"):  # its dataclasses
            return "pydantic"
        for base in kind.__mro__:
            library = base.__module__.partition(".")[0]
            if library in ("msgspec", "pydantic"):
                return library
    return None


def _parts(type: object) -> Iterator[object]:
    yield type
    for argument in typing.get_args(type):
        yield from _parts(argument)
