"""Which proxy a connection goes through: the option, the environment and the system's settings."""

from __future__ import annotations

import os
import threading
import urllib.request
from typing import Any

import pytest

from anyio_ws import ClientConfig, ProxyError, WebSocket, open_server, open_websocket, proxies
from anyio_ws.proxies import proxy_for
from anyio_ws.sansio import parse_uri

from .forward import forward_proxy, grant, say
from .helpers import client_and_peer

WS, WSS = "ws://far.example/", "wss://far.example/"


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def chosen(url: str, option: Any = True) -> str | None:
    """How the proxy is shown that a connection to *url* goes through."""
    proxy = await proxy_for(parse_uri(url), ClientConfig(proxy=option).proxy)
    return None if proxy is None else str(proxy)


# -- what is given


@pytest.mark.parametrize("option", [None, {}])
async def test_none_is_none_whatever_the_environment_says(
    option: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example")
    assert await chosen(WS, option) is None
    assert await chosen(WSS, option) is None


async def test_a_url_is_for_every_server_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("all_proxy", "http://other.example")
    monkeypatch.setenv("no_proxy", "*")
    for url in (WS, WSS, "ws://127.0.0.1/", "wss://localhost/"):
        assert await chosen(url, "http://u:p@proxy.example:3128") == "http://proxy.example:3128"


MAPPINGS: list[tuple[dict[str, str], int | None, int | None]] = [
    ({"ws": "http://h:1", "wss": "http://h:2"}, 1, 2),
    ({"http": "http://h:1", "https": "http://h:2"}, 1, 2),
    ({"all": "http://h:1", "wss": "http://h:2"}, 1, 2),
    ({"ws": "http://h:1", "http": "http://h:3", "all": "http://h:4"}, 1, 4),
    ({"https": "http://h:2"}, None, 2),
    ({"wss": "http://h:2"}, None, 2),
    ({"http": "http://h:1"}, 1, None),
    ({"https": "http://h:1", "wss": "socks5://h:2"}, None, 2),
]


@pytest.mark.parametrize(("option", "plain", "secure"), MAPPINGS)
async def test_a_mapping_is_by_the_servers_scheme(
    option: dict[str, str], plain: int | None, secure: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://other.example")
    for url, port in ((WS, plain), (WSS, secure)):
        shown = await chosen(url, option)
        assert (shown and int(shown.rpartition(":")[2])) == port


async def test_a_mapping_is_copied() -> None:
    option = {"ws": "http://proxy.example"}
    config = ClientConfig(proxy=option)
    option["ws"] = "rubbish"
    assert config.proxy == {"ws": "http://proxy.example"}


BAD: list[tuple[Any, type[Exception], str]] = [
    (False, TypeError, "of type bool"),
    (5, TypeError, "of type int"),
    (b"http://h", TypeError, "of type bytes"),
    (["http://h"], TypeError, "of type list"),
    ({"ws": None}, TypeError, "'ws' is a NoneType"),
    ({"ws": b"http://h"}, TypeError, "'ws' is a bytes"),
    ({"ftp": "http://h"}, ValueError, "the key 'ftp'"),
    ({"WS": "http://h"}, ValueError, "the key 'WS'"),
    ("", ValueError, "no scheme"),
    ("proxy.example:3128", ValueError, "no scheme"),
    ("ftp://proxy.example", ValueError, "scheme is 'ftp'"),
    ({"wss": "proxy.example"}, ValueError, r"proxy\['wss'\] must be .* no scheme"),
]


@pytest.mark.parametrize(("option", "error", "said"), BAD)
def test_what_is_no_proxy_is_refused_when_called_and_what_is_accepted_is_named(
    option: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        open_websocket(WS, proxy=option)
    assert "True, None, a URL with one of the schemes http, https, socks4," in str(caught.value)


# -- what the environment says


AROUND: list[tuple[dict[str, str], str | None, str | None]] = [
    ({}, None, None),
    ({"ws_proxy": "http://h:1"}, "http://h:1", None),
    ({"wss_proxy": "http://h:1"}, None, "http://h:1"),
    ({"http_proxy": "http://h:1"}, "http://h:1", None),
    ({"https_proxy": "http://h:1"}, "http://h:1", "http://h:1"),
    ({"socks_proxy": "socks5h://h:1"}, "socks5h://h:1", "socks5h://h:1"),
    ({"all_proxy": "socks4a://h:1"}, "socks4a://h:1", "socks4a://h:1"),
    ({"ALL_PROXY": "https://h:1"}, "https://h:1", "https://h:1"),
    ({"http_proxy": "http://h:1", "https_proxy": "http://h:2"}, "http://h:2", "http://h:2"),
    ({"all_proxy": "http://h:1", "HTTPS_PROXY": "http://h:2"}, "http://h:2", "http://h:2"),
    ({"all_proxy": "http://h:1", "http_proxy": "http://h:2"}, "http://h:2", "http://h:1"),
    ({"https_proxy": "http://h:1", "socks_proxy": "socks5://h:2"}, "socks5://h:2", "socks5://h:2"),
    ({"socks_proxy": "socks5://h:1", "ws_proxy": "http://h:2"}, "http://h:2", "socks5://h:1"),
    ({"socks_proxy": "socks5://h:1", "WSS_PROXY": "http://h:2"}, "socks5://h:1", "http://h:2"),
    ({"https_proxy": "http://h:1", "HTTPS_PROXY": "http://h:2"}, "http://h:1", "http://h:1"),
    ({"https_proxy": "", "HTTPS_PROXY": "http://h:2"}, None, None),
    ({"https_proxy": "", "all_proxy": "http://h:2"}, "http://h:2", "http://h:2"),
    (
        {"https_proxy": "proxy.example:3128"},
        "http://proxy.example:3128",
        "http://proxy.example:3128",
    ),
    (
        {"https_proxy": "u:p@proxy.example:3128"},
        "http://proxy.example:3128",
        "http://proxy.example:3128",
    ),
    ({"https_proxy": "http://proxy.example"}, "http://proxy.example:80", "http://proxy.example:80"),
    ({"all_proxy": "socks://h:1/"}, "socks5h://h:1", "socks5h://h:1"),
    ({"socks_proxy": "h:1"}, "socks5h://h:1", "socks5h://h:1"),
    ({"socks_proxy": "http://h:1"}, "socks5h://h:1", "socks5h://h:1"),  # as macOS has it
    ({"ftp_proxy": "http://h:1", "no_proxy": "x"}, None, None),
]


@pytest.mark.parametrize(("environment", "plain", "secure"), AROUND)
async def test_by_default_the_environment_decides(
    environment: dict[str, str],
    plain: str | None,
    secure: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await chosen(WS), await chosen(WSS)) == (plain, secure)


@pytest.mark.parametrize(
    ("exceptions", "url", "bypassed"),
    [
        ("*", WS, True),
        ("far.example", WS, True),
        (".example", WS, True),
        ("example", WS, True),
        ("near.example, FAR.example", WS, True),
        ("ar.example", WS, False),
        ("far.example:80", WS, True),
        ("far.example:81", WS, False),
        ("far.example:443", WSS, True),
        ("192.0.2.7", "ws://192.0.2.7/", True),
        ("192.0.2.0/24", "ws://192.0.2.7/", True),
        ("192.0.2.7/24", "ws://192.0.2.7/", True),
        ("x, 10.0.0.0/8,192.0.2.0/24", "wss://192.0.2.7:9/", True),
        ("192.0.3.0/24", "ws://192.0.2.7/", False),
        ("192.0.2.0/24", "ws://far.example/", False),
        ("2001:db8::1", "ws://[2001:db8::1]/", True),
        ("2001:db8:0::1", "ws://[2001:db8::1]/", True),
        ("[2001:db8::1]:80", "ws://[2001:db8::1]/", True),
        ("2001:db8::/32", "ws://[2001:db8::1]:9/", True),
        ("2001:db8::/32", "ws://[2001:db9::1]/", False),
        ("", WS, False),
    ],
)
async def test_no_proxy_names_exceptions(
    exceptions: str, url: str, bypassed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy.example")
    monkeypatch.setenv("no_proxy", exceptions)
    assert (await chosen(url) is None) == bypassed


@pytest.mark.parametrize(
    ("host", "loops"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.1", True),
        ("127.255.0.3", True),
        ("[::1]", True),
        ("[0:0:0::0:1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("128.0.0.1", False),
        ("[::2]", False),
    ],
)
async def test_this_machine_is_never_reached_through_a_proxy_that_nobody_named(
    host: str, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy.example")
    for scheme in ("ws", "wss"):
        assert (await chosen(f"{scheme}://{host}:8080/") is None) == loops
    assert await chosen(f"ws://{host}/", {"all": "http://proxy.example"}) is not None


@pytest.mark.parametrize("value", ["ftp://h:1", "http://h:port", "http://u:s3cret@", "http://h/x"])
async def test_a_variable_that_names_no_proxy_is_a_proxy_error_that_names_the_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", value)
    with pytest.raises(ProxyError, match="all_proxy of the environment") as caught:
        async with open_websocket(WSS):
            pass
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "far.example")
    assert await chosen(WSS) is None


async def test_a_connection_goes_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with forward_proxy(say(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(user="ada:lovelace"))
        with pytest.raises(ProxyError, match="HTTP 403"):
            async with open_websocket(WSS):
                pass
        assert proxy.heard[0].startswith(b"CONNECT far.example:443 ")
        assert b"Proxy-Authorization" in proxy.heard[0]


async def test_the_environment_is_asked_when_the_connection_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with forward_proxy(say(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        context = open_websocket(WSS)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        with pytest.raises(ProxyError):
            await context.__aenter__()


async def test_nothing_but_dialling_asks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://nothing.invalid")
    async with client_and_peer() as (ws, _):
        assert ws.remote_address in (None, "", b"")


async def test_an_explicit_proxy_is_used_for_this_machine_too() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(grant) as proxy:
        for option in (proxy.url(), {"ws": proxy.url()}):
            async with open_websocket(server.url, proxy=option) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
    assert proxy.targets == [("127.0.0.1", server.port)] * 2


# -- what the system says


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a system that has some, as macOS and Windows do."""
    found: dict[str, str] = {}
    monkeypatch.setattr(proxies, "SYSTEM_HAS_SETTINGS", True)
    monkeypatch.setattr(urllib.request, "getproxies", lambda: found)
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "near.example:443")
    return found


async def test_the_systems_settings_are_asked_where_there_are_some(
    settings: dict[str, str],
) -> None:
    assert await chosen(WSS) is None
    settings["https"] = "http://proxy.example:3128"
    assert await chosen(WSS) == "http://proxy.example:3128"
    assert await chosen("wss://near.example/") is None
    assert await chosen("wss://near.example:444/") is not None
    assert await chosen("wss://localhost/") is None
    settings["socks"] = "http://socks.example:9"
    assert await chosen(WSS) == "socks5h://socks.example:9"


async def test_settings_that_take_their_time_are_waited_for_no_longer_than_open_timeout(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(urllib.request, "getproxies", lambda: go_on.wait(10) and settings)
    try:
        with pytest.raises(TimeoutError, match="open_timeout"):
            async with open_websocket(WSS, open_timeout=0.01):
                pass
    finally:
        go_on.set()


# -- what it costs


async def test_without_a_proxy_in_the_environment_urllib_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(urllib.request, "getproxies")
    assert [name for name in os.environ if name.lower().endswith("_proxy")] == []
    for url in (WS, WSS, "ws://127.0.0.1/"):
        assert await chosen(url) is None
