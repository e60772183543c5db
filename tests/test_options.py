"""Every option is defined once: the typed dicts, for type checkers, agree with the configs."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import math
import re
import ssl
from typing import Any, get_type_hints

import pytest

from anyio_ws import ClientConfig, ClientOptions, ServerConfig, ServerOptions
from anyio_ws.options import (
    _CALLED_ELSEWHERE,
    CommonConfig,
    CommonOptions,
    client_config,
    server_config,
)
from anyio_ws.sansio import ClientProtocol, ServerProtocol

PAIRS = [
    (CommonConfig, CommonOptions),
    (ClientConfig, ClientOptions),
    (ServerConfig, ServerOptions),
]


@pytest.mark.parametrize(("config", "options"), PAIRS)
def test_the_typed_dict_has_the_names_and_types_of_the_config(config: Any, options: Any) -> None:
    assert get_type_hints(options) == get_type_hints(config)
    assert not options.__required_keys__, "every option has a default"


@pytest.mark.parametrize("config", [ClientConfig, ServerConfig])
def test_a_config_is_made_of_defaults_and_can_not_be_changed(
    config: type[ClientConfig] | type[ServerConfig],
) -> None:
    made = config()
    assert made == config()
    assert not hasattr(made, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.max_size = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        config(["chat"])  # type: ignore[call-arg]  # by name only


@pytest.mark.parametrize("config", [ClientConfig(), ServerConfig()])
def test_the_defaults_are_finite(config: ClientConfig | ServerConfig) -> None:
    assert (config.open_timeout, config.close_timeout) == (10, 10)
    assert config.max_size == 2**20
    assert (config.read_limit, config.write_limit) == (2**16, 2**16)
    assert config.max_queue == 512
    assert config.max_fragments == 2**17
    assert (config.max_header_size, config.max_header_count) == (2**14, 128)
    assert isinstance(config, ClientConfig) or config.max_request_line == 2**13


@pytest.mark.parametrize(
    ("config", "protocol"), [(ServerConfig(), ServerProtocol), (ClientConfig(), ClientProtocol)]
)
def test_the_protocols_have_the_same_defaults(
    config: ServerConfig | ClientConfig, protocol: type[ServerProtocol] | type[ClientProtocol]
) -> None:
    parameters = inspect.signature(protocol).parameters
    common = {field.name for field in dataclasses.fields(config)} & set(parameters)
    assert {"max_size", "max_fragment_size", "max_fragments", "auto_pong"} <= common
    for name in common:
        assert parameters[name].default == getattr(config, name)


def test_options_override_the_config_and_leave_it_as_it_was() -> None:
    config = ClientConfig(max_size=5, max_queue=6)
    merged = client_config(config, {"max_queue": 7})
    assert (merged.max_size, merged.max_queue) == (5, 7)
    assert config.max_queue == 6
    assert client_config(config, {}) is config
    assert server_config(None, {}) == ServerConfig()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("open_timout", "open_timeout"),
        ("maxsize", "max_size"),
        ("subprotocol", "subprotocols"),
        ("additional_header", "additional_headers"),
        ("read_limits", "read_limit"),
        ("headers", "additional_headers"),
        ("timeout", "open_timeout"),
    ],
)
def test_an_unknown_option_is_a_type_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=f"{name!r} isn't an option.*did you mean {nearest!r}"):
        client_config(None, {name: 1})


def test_names_of_other_libraries_lead_to_options_that_there_are() -> None:
    names = {field.name for field in dataclasses.fields(ClientConfig)}
    assert set(_CALLED_ELSEWHERE.values()) <= names
    assert not names & set(_CALLED_ELSEWHERE)


def test_an_unknown_option_like_no_other_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match=r"'xyz' isn't an option of ServerConfig$"):
        server_config(None, {"xyz": 1})


def test_options_of_the_other_side_are_unknown() -> None:
    with pytest.raises(TypeError, match="'origins' isn't an option of ClientConfig"):
        client_config(None, {"origins": ["http://example.org"]})
    with pytest.raises(TypeError, match="'user_agent_header' isn't an option of ServerConfig"):
        server_config(None, {"user_agent_header": "me"})


BAD_VALUES: list[tuple[str, object, type[Exception]]] = [
    ("open_timeout", -1, ValueError),
    ("open_timeout", "10", ValueError),
    ("close_timeout", math.nan, ValueError),
    ("max_lifetime", 0, ValueError),
    ("idle_timeout", -1, ValueError),
    ("idle_timeout", "60", ValueError),
    ("max_size", 0, ValueError),
    ("max_size", -5, ValueError),
    ("max_size", "1 MiB", ValueError),
    ("max_fragment_size", 0, ValueError),
    ("max_fragment_size", 0.5, ValueError),
    ("max_fragments", 0, ValueError),
    ("max_fragments", None, ValueError),
    ("max_header_size", 0, ValueError),
    ("max_header_count", None, ValueError),
    ("max_queue", 0, ValueError),
    ("max_queue", 1.5, ValueError),
    ("max_queue", None, ValueError),
    ("read_limit", 0, ValueError),
    ("write_limit", -1, ValueError),
    ("subprotocols", "chat", TypeError),
    ("ssl", True, TypeError),
    ("ssl", "cert.pem", TypeError),
    ("json", "yaml", ValueError),
    ("json", None, TypeError),
    ("json", object(), TypeError),
    ("json", logging.Logger, TypeError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD_VALUES)
@pytest.mark.parametrize("make", [client_config, server_config])
def test_a_value_that_makes_no_sense_is_refused_by_name(
    make: Any, name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        make(None, {name: value})


def test_values_of_one_side_are_checked_too() -> None:
    with pytest.raises(ValueError, match="max_request_line"):
        ServerConfig(max_request_line=0)
    with pytest.raises(ValueError, match="X-Bad"):
        ClientConfig(additional_headers={"X-Bad": "two\r\nlines"})


async def no_key() -> bytes:
    return b"1234"


@pytest.mark.parametrize("key", [b"1234", "1234", 4, no_key])
def test_a_masking_key_comes_from_a_plain_function(key: Any) -> None:
    with pytest.raises(TypeError, match="insecure_masking_key must be a plain function"):
        ClientConfig(insecure_masking_key=key)


@pytest.mark.parametrize(
    "origins",
    [
        "http://example.org",
        re.compile("http://.*"),
        [b"http://example.org"],
        [re.compile(b"http://.*")],
    ],
)
def test_origins_are_strings_and_patterns_of_strings(origins: Any) -> None:
    with pytest.raises(TypeError, match="origins must be"):
        ServerConfig(origins=origins)


def test_origins_may_be_an_iterator() -> None:
    pattern = re.compile("http://.*")
    config = ServerConfig(origins=iter(["http://example.org", pattern, None]))  # type: ignore[arg-type]  # as one may
    assert config.origins == ("http://example.org", pattern, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("open_timeout", None),
        ("open_timeout", 0),
        ("close_timeout", math.inf),
        ("max_size", None),
        ("max_fragment_size", 1),
        ("max_fragments", 1),
        ("auto_pong", False),
        ("max_queue", 1),
        ("write_limit", 0),
        ("subprotocols", ("chat",)),
        ("logger", logging.getLogger("mine")),
        ("ssl", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    ],
)
def test_unusual_values_that_make_sense_are_taken(name: str, value: object) -> None:
    assert getattr(client_config(None, {name: value}), name) == value


def test_what_may_be_a_secret_is_not_shown() -> None:
    config = ClientConfig(
        additional_headers={"Authorization": "Bearer abc-secret"},
        cookies={"session": "def-secret"},
        proxy="http://ada:ghi-secret@proxy.example",
    )
    assert "secret" not in repr(config)
