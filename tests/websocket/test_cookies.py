"""Cookies that a client sends, and a jar that it tells of those which a server sets (RFC 6265)."""

from __future__ import annotations

import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import Any

import pytest

from anyio_ws import (
    ClientConfig,
    InvalidHeader,
    InvalidStatus,
    Request,
    Response,
    WebSocket,
    open_server,
    open_websocket,
)
from anyio_ws.cookies import cookie_header, take_cookies
from anyio_ws.sansio import Headers, parse_uri
from anyio_ws.testing import memory_stream_pair

from .helpers import URL, client_and_peer


async def tell(ws: WebSocket) -> None:
    """Say which cookies came."""
    for cookie in ws.request.headers.get_all("Cookie"):
        await ws.send(cookie)


async def sent(server_url: str, **options: Any) -> list[str]:
    async with open_websocket(server_url, **options) as ws:
        return [str(message) async for message in ws]


# -- a mapping


async def test_a_mapping_is_one_header() -> None:
    cookies = {"session": "a1/b2+c3==", "$_odd!": "", "quoted": '"a:b"', "equals": "a=b"}
    async with open_server(tell, "127.0.0.1", 0) as server:
        for given in (cookies, MappingProxyType(cookies), cookies.copy()):
            assert await sent(server.url, cookies=given) == [
                'session=a1/b2+c3==; $_odd!=; quoted="a:b"; equals=a=b'
            ]
        assert await sent(server.url, cookies={}) == []
        assert await sent(server.url) == []


async def test_a_mapping_is_read_when_it_is_given() -> None:
    cookies = {"a": "1"}
    config = ClientConfig(cookies=cookies)
    cookies["b"] = "2"
    async with open_server(tell, "127.0.0.1", 0) as server:
        assert await sent(server.url, config=config) == ["a=1"]


async def test_a_cookie_header_of_the_users_goes_before() -> None:
    async with open_server(tell, "127.0.0.1", 0) as server:
        for cookies in ({"a": "1"}, jar_with("127.0.0.1")):
            header = {"cookie": "b=2"}
            assert await sent(server.url, cookies=cookies, additional_headers=header) == ["b=2"]


@pytest.mark.parametrize(
    "value", ["a;b", "a,b", "a b", 'a"b', '"', "a\\b", "é", "a\r\nX: 1", "\0", "\x7f"]
)
def test_a_value_that_no_cookie_has_is_a_value_error_that_does_not_tell_it(value: str) -> None:
    with pytest.raises(ValueError, match="'session' has") as caught:
        open_websocket(URL, cookies={"session": f"secret{value}"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "é", "a\r\n"])
def test_a_name_that_no_cookie_has_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="isn't the name of a cookie"):
        open_websocket(URL, cookies={name: "1"})


@pytest.mark.parametrize("cookies", ["a=1", [("a", "1")], {"a": 1}, {1: "a"}, {"a": None}, 5])
def test_what_is_neither_a_mapping_of_strings_nor_a_jar_is_a_type_error(cookies: Any) -> None:
    with pytest.raises(TypeError, match="cookies must"):
        open_websocket(URL, cookies=cookies)


# -- a jar


def set_in(jar: CookieJar, url: str, *cookies: str) -> None:
    response = Response(200, "OK", Headers([("Set-Cookie", cookie) for cookie in cookies]))
    take_cookies(jar, response, parse_uri(url))


def jar_with(host: str) -> CookieJar:
    jar = CookieJar()
    set_in(jar, f"ws://{host}/", "a=1")
    return jar


async def test_a_jar_is_asked_and_told_of_every_response() -> None:
    statuses = iter((200, 101, 403))

    async def set_cookie(ws: WebSocket, request: Request, response: Response) -> Response | None:
        status = next(statuses)
        headers = response.headers if status == 101 else Headers()
        headers.add("Set-Cookie", f"status{status}=1; Path=/")
        headers.add("Set-Cookie", f"last={status}, and more; Path=/")
        return None if status == 101 else Response(status, "Sorry", headers)

    jar = CookieJar()
    async with open_server(tell, "127.0.0.1", 0, process_response=set_cookie) as server:
        with pytest.raises(InvalidStatus, match="200"):
            await sent(server.url, cookies=jar)
        async with open_websocket(server.url, cookies=jar) as ws:
            assert ws.response.headers.get_all("Set-Cookie") == [
                "status101=1; Path=/",
                "last=101, and more; Path=/",
            ]
            assert await ws.receive() == "status200=1; last=200, and more"
        with pytest.raises(InvalidStatus, match="403"):
            await sent(server.url, cookies=jar)
    found = {cookie.name: cookie.value for cookie in jar}
    assert found == {"status200": "1", "status101": "1", "status403": "1", "last": "403, and more"}


async def test_a_jar_is_told_of_a_response_that_cannot_be_accepted() -> None:
    async def spoil(ws: WebSocket, request: Request, response: Response) -> None:
        response.headers["Sec-WebSocket-Accept"] = "bm8="
        response.headers["Set-Cookie"] = "a=1"

    jar = CookieJar()
    async with open_server(tell, "127.0.0.1", 0, process_response=spoil) as server:
        with pytest.raises(InvalidHeader):
            await sent(server.url, cookies=jar)
    assert [cookie.name for cookie in jar] == ["a"]


@pytest.mark.usefixtures("virtual_time")
async def test_a_jar_is_told_of_a_refusal_whose_body_does_not_end() -> None:
    jar = CookieJar()
    ours, theirs = memory_stream_pair()
    await theirs.send(b"HTTP/1.1 403 Sorry\r\nSet-Cookie: a=1\r\nContent-Length: 9\r\n\r\n")
    with pytest.raises(InvalidStatus):
        await sent(URL, stream=ours, cookies=jar)
    assert [cookie.name for cookie in jar] == ["a"]
    await theirs.aclose()


async def test_a_jar_without_a_fitting_cookie_makes_no_header() -> None:
    async with client_and_peer(cookies=jar_with("other.example")) as (ws, _):
        assert "Cookie" not in ws.request.headers
        assert "Cookie2" not in ws.request.headers


@pytest.mark.parametrize(
    ("set_by", "cookie", "url", "header"),
    [
        ("ws://h.example/", "a=1", "ws://h.example/x", "a=1"),
        ("ws://h.example/", "a=1", "ws://h.example:8000/x", "a=1"),
        ("ws://h.example/", "a=1", "wss://h.example/x", "a=1"),
        ("ws://h.example/", "a=1", "ws://other.example/", None),
        ("ws://h.example/", "a=1; Domain=h.example", "ws://sub.h.example/", "a=1"),
        ("ws://h.example/", "a=1; Domain=other.example", "ws://other.example/", None),
        ("wss://h.example/", "a=1; Secure", "wss://h.example/", "a=1"),
        ("wss://h.example/", "a=1; Secure", "ws://h.example/", None),
        ("ws://h.example/x/y", "a=1", "ws://h.example/x/z", "a=1"),
        ("ws://h.example/x/y", "a=1", "ws://h.example/z", None),
        ("ws://h.example/", "a=1; Path=/x", "ws://h.example/x/y?q", "a=1"),
        ("ws://h.example/", "a=1; Max-Age=0", "ws://h.example/", None),
        ("ws://h.example/", "a=1; HttpOnly", "ws://h.example/", "a=1"),
        ("ws://localhost:1/", "a=1", "ws://localhost:2/", "a=1"),
        ("ws://127.0.0.1:1/", "a=1", "ws://127.0.0.1/", "a=1"),
        ("ws://[::1]:1/", "a=1", "ws://[::1]/", "a=1"),
        ("ws://höst.example/", "a=1", "ws://xn--hst-sna.example/", "a=1"),
        ("ws+unix:///run/a", "a=1", "ws+unix:///run/a:/b", "a=1"),
    ],
)
def test_the_jar_decides_by_the_url_as_that_of_http(
    set_by: str, cookie: str, url: str, header: str | None
) -> None:
    jar = CookieJar()
    set_in(jar, set_by, cookie)
    assert cookie_header(jar, parse_uri(url)) == header


def test_a_cookie_of_a_jar_expires() -> None:
    jar = CookieJar()
    set_in(jar, "ws://h.example/", "a=1; Max-Age=1000")
    (cookie,) = jar
    assert cookie_header(jar, parse_uri("ws://h.example/")) == "a=1"
    cookie.expires = int(time.time()) - 1
    assert cookie_header(jar, parse_uri("ws://h.example/")) is None


def test_the_policy_of_a_jar_is_asked() -> None:
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["h.example"]))
    set_in(jar, "ws://h.example/", "a=1")
    set_in(jar, "ws://other.example/", "b=2")
    assert [cookie.name for cookie in jar] == ["b"]
    for strict, header in ((0, "a=1"), (DefaultCookiePolicy.DomainStrictNonDomain, None)):
        jar = CookieJar(DefaultCookiePolicy(strict_ns_domain=strict))
        set_in(jar, "ws://h.example/", "a=1")
        assert cookie_header(jar, parse_uri("ws://sub.h.example/")) == header


async def test_what_a_jar_has_and_no_header_can_is_a_value_error_before_it_is_sent() -> None:
    jar = jar_with("example.org")
    (cookie,) = jar
    cookie.value = "1\r\nX: 1"
    ours, theirs = memory_stream_pair()
    with pytest.raises(ValueError, match="Cookie"):
        await sent(URL, stream=ours, cookies=jar)
    await theirs.aclose()
