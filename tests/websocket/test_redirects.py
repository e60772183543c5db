"""Redirects of the opening handshake: which are followed, what goes along, and when they end."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute

from anyio_ws import (
    ConnectError,
    Headers,
    InvalidStatus,
    Request,
    Response,
    WebSocket,
    dialling,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import ScriptedPeer, cancel_sweep, memory_stream_pair
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import dial

from .helpers import URL

Routes = Mapping[str, str | Response]


def redirect(location: str, status: int = 302) -> Response:
    return Response(status, "Elsewhere", Headers({"Location": location}))


class Site:
    """A server that redirects some paths, greets at the others, and remembers who asked for what."""

    def __init__(self, routes: Routes) -> None:
        self.routes = dict(routes)
        self.requests: list[Request] = []
        self.url = ""

    async def process_request(self, ws: WebSocket, request: Request) -> Response | None:
        self.requests.append(request)
        answer = self.routes.get(request.path)
        return redirect(answer) if isinstance(answer, str) else answer

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


async def greet(ws: WebSocket) -> None:
    await ws.send("hello")


async def site(stack: AsyncExitStack, routes: Routes | None = None, **options: Any) -> Site:
    made = Site(routes or {})
    where: dict[str, Any] = {} if "unix_path" in options else {"host": "127.0.0.1", "port": 0}
    server = await stack.enter_async_context(
        open_server(greet, process_request=made.process_request, **where, **options)
    )
    made.url = server.url
    return made


async def refused(url: str, **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        async with open_websocket(url, **options):
            pass
    return caught.value


# -- which are followed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_to_its_location(status: int) -> None:
    async with AsyncExitStack() as stack:
        new = await site(stack)
        old = await site(stack, {"/old": redirect(f"{new.url}/new?a=b", status)})
        async with open_websocket(f"{old.url}/old") as ws:
            assert await ws.receive() == "hello"
            assert ws.url == f"{new.url}/new?a=b"
            assert ws.request.path == "/new?a=b"
            assert ws.request.headers["Host"] == new.url.removeprefix("ws://")
            assert ws.response.status_code == 101
        assert old.paths == ["/old"]
        assert new.paths == ["/new?a=b"]


@pytest.mark.parametrize("location", ["/new", "new", "../new", "//{host}/new", "http://{host}/new"])
async def test_a_location_may_be_relative_and_of_http(location: str) -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack)
        here.routes["/old"] = location.format(host=here.url.removeprefix("ws://"))
        async with open_websocket(f"{here.url}/old") as ws:
            assert await ws.receive() == "hello"
        assert here.paths == ["/old", "/new"]


@pytest.mark.parametrize(
    "response",
    [
        redirect("/new", 300),
        redirect("/new", 304),
        redirect("/new", 305),
        redirect("/new", 200),
        Response(302, "Nowhere"),
    ],
)
async def test_other_answers_are_not_followed(response: Response) -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/old": response})
        exc = await refused(f"{here.url}/old")
        assert exc.response.status_code == response.status_code
        assert exc.reason is None
        assert here.paths == ["/old"]


async def test_a_refusal_after_redirects_is_the_last_ones() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/old": "/new", "/new": Response(403, "No")})
        exc = await refused(f"{here.url}/old")
        assert exc.response.status_code == 403
        assert exc.__context__ is None


async def test_an_error_of_a_redirects_server_names_that() -> None:
    async with AsyncExitStack() as stack:
        with anyio.fail_after(10):
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(SocketAttribute.local_port)
            await listener.aclose()
        here = await site(stack, {"/old": f"http://127.0.0.1:{port}/"})
        with pytest.raises(ConnectError, match=f"127.0.0.1:{port}: "):
            async with open_websocket(f"{here.url}/old"):
                pass


# -- how many


async def test_where_it_would_lead_is_told_by_a_client_that_follows_none() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/old": "/new"})
        exc = await refused(f"{here.url}/old", max_redirects=0)
        assert exc.reason == f"its redirect to '{here.url}/new' isn't followed: max_redirects is 0"
        assert here.paths == ["/old"]


async def test_a_loop_ends_at_the_maximum() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/a": "/b", "/b": "/a"})
        for most in (1, 5):
            here.requests.clear()
            exc = await refused(f"{here.url}/a", max_redirects=most)
            assert len(here.requests) == most + 1
            location = f"{here.url}/{'ab'[most % 2 - 1]}"
            assert exc.reason == (
                f"its redirect to {location!r} isn't followed: "
                f"there were as many as max_redirects, {most}, before it"
            )
            assert exc.response.headers["Location"] in ("/a", "/b")


async def test_as_many_as_the_maximum_are_followed() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {f"/{number}": f"/{number + 1}" for number in range(5)})
        async with open_websocket(f"{here.url}/0") as ws:
            assert ws.url == f"{here.url}/5"


@pytest.mark.parametrize("most", [-1, None, 1.5, "5"])
def test_a_maximum_that_is_no_number_is_refused(most: Any) -> None:
    with pytest.raises(ValueError, match="max_redirects"):
        open_websocket(URL, max_redirects=most)


# -- what goes along

PRIVATE = [
    ("Authorization", "Bearer secret"),
    ("authorization", "Bearer other"),
    ("Proxy-Authorization", "Basic secret"),
    ("COOKIE", "a=1"),
    ("Host", "given.example"),
]
OTHERS = [("X-One", "1"), ("X-Two", "2"), ("x-one", "3")]


def sent(request: Request) -> list[tuple[str, str]]:
    names = {name.lower() for name, _ in PRIVATE + OTHERS}
    return [pair for pair in request.headers.raw_items() if pair[0].lower() in names]


async def test_on_the_same_origin_everything_goes_along() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/old": "/new"}, origins=["https://page.example"])
        headers = [*OTHERS, *PRIVATE]
        async with open_websocket(
            f"{here.url}/old",
            additional_headers=headers,
            origin="https://page.example",
            subprotocols=None,
            user_agent_header="me/1",
        ):
            pass
        for request in here.requests:
            assert sent(request) == headers
            assert request.headers["Origin"] == "https://page.example"
            assert request.headers["User-Agent"] == "me/1"


async def test_on_the_same_origin_the_urls_credentials_and_cookies_go_along() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/old": "/new"})
        url = here.url.replace("ws://", "ws://ada:lovelace@")
        async with open_websocket(f"{url}/old", cookies={"a": "1"}) as ws:
            assert ws.url == f"{here.url}/new"  # without them
        first, second = here.requests
        assert first.headers["Authorization"] == second.headers["Authorization"]
        assert first.headers["Cookie"] == second.headers["Cookie"] == "a=1"
        assert first.headers["Sec-WebSocket-Key"] != second.headers["Sec-WebSocket-Key"]


async def test_to_another_origin_nothing_private_goes_along_nor_back() -> None:
    async with AsyncExitStack() as stack:
        there = await site(stack)
        here = await site(stack, {"/old": f"{there.url}/new"})
        there.routes["/new"] = f"{here.url}/home"
        async with open_websocket(f"{here.url}/old", additional_headers=[*OTHERS, *PRIVATE]) as ws:
            assert ws.url == f"{here.url}/home"
        assert sent(here.requests[0]) == [*OTHERS, *PRIVATE]
        for site_, request in ((there, there.requests[0]), (here, here.requests[1])):
            host = ("Host", site_.url.removeprefix("ws://"))
            assert sent(request) == [host, *OTHERS]


async def test_to_another_origin_neither_the_urls_credentials_nor_cookies_go_along() -> None:
    async with AsyncExitStack() as stack:
        there = await site(stack)
        here = await site(stack, {"/old": f"{there.url}/new"})
        url = here.url.replace("ws://", "ws://ada:lovelace@")
        async with open_websocket(f"{url}/old", cookies={"a": "1"}):
            pass
        (asked,) = there.requests
        assert {"Authorization", "Cookie"}.isdisjoint(name for name, _ in asked.headers.raw_items())


async def test_credentials_of_the_location_are_for_where_it_leads() -> None:
    async with AsyncExitStack() as stack:
        there = await site(stack)
        target = there.url.replace("ws://", "http://grace:hopper@")
        here = await site(stack, {"/old": f"{target}/new"})
        async with open_websocket(f"{here.url}/old") as ws:
            assert "hopper" not in ws.url
        assert there.requests[0].headers["Authorization"] == "Basic Z3JhY2U6aG9wcGVy"


async def test_a_jar_is_told_by_redirects_and_decides_what_goes_along() -> None:
    async with AsyncExitStack() as stack:
        there = await site(stack)
        moved = redirect(there.url.replace("127.0.0.1", "localhost") + "/new")
        moved.headers.add("Set-Cookie", "here=1")
        back = redirect("")
        back.headers.add("Set-Cookie", "there=2; Path=/new")
        here = await site(stack, {"/old": moved})
        there.routes["/new"] = back
        back.headers["Location"] = f"{here.url}/home"
        jar = CookieJar()
        async with open_websocket(f"{here.url}/old", cookies=jar):
            pass
        assert [request.headers.get("Cookie") for request in here.requests] == [None, "here=1"]
        assert [request.headers.get("Cookie") for request in there.requests] == [None]
        assert sorted(cookie.name for cookie in jar) == ["here", "there"]


# -- TLS


async def test_a_redirect_from_ws_to_wss_is_followed(
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialling, "_default_context", lambda: client_ssl_context)
    async with AsyncExitStack() as stack:
        new = await site(stack, ssl=server_ssl_context)
        location = new.url.replace("wss://", "https://")
        old = await site(stack, {"/": location})
        async with open_websocket(old.url) as ws:
            assert await ws.receive() == "hello"
            assert ws.url == f"{new.url}/"


async def test_a_redirect_from_wss_to_ws_is_refused(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with AsyncExitStack() as stack:
        new = await site(stack)
        old = await site(
            stack,
            {"/": new.url.replace("ws://", "http://grace:hopper@") + "/new"},
            ssl=server_ssl_context,
        )
        exc = await refused(old.url, ssl=client_ssl_context)
        assert str(exc) == (
            "server answered HTTP 302 Elsewhere instead of 101; "
            f"its redirect to '{new.url}/new' isn't followed: it leads from wss to ws"
        )
        assert exc.response.status_code == 302
        assert new.requests == []


async def test_server_hostname_is_of_one_origin(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    def showing(host: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(host).configure_cert(context)
        return context

    async with AsyncExitStack() as stack:
        new = await site(stack, ssl=showing("127.0.0.1"))
        old = await site(stack, {"/a": "/b", "/b": f"{new.url}/new"}, ssl=showing("inner.example"))
        async with open_websocket(
            f"{old.url}/a", ssl=client_ssl_context, server_hostname="inner.example"
        ) as ws:
            assert ws.url == f"{new.url}/new"
        assert old.paths == ["/a", "/b"]


# -- where it can't go


@pytest.mark.parametrize(
    ("location", "shown", "why"),
    [
        ("ftp://ada:secret@h/x", "ftp://***@h/x", "the scheme must be"),
        ("http://ada:secret@h:x/", "http://***@h:x/", "the port isn't"),
        ("http://ada:se/cret@h/", "http://***@h/", "the port isn't"),
        ("http://secret@h/", "http://***@h/", "a user name without a password"),
        ("ws+unix:///run/socket", "ws+unix:///run/socket", "no server can lead to a Unix socket"),
        ("/a b", "/a b", "it contains ' '"),
        ("http://[/" + "x" * 200, "http://[/" + "x" * 91 + "...", "IPv6"),
    ],
)
async def test_a_location_that_is_none_is_refused_without_telling_credentials(
    location: str, shown: str, why: str
) -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/": location})
        exc = await refused(here.url)
    assert str(exc).startswith(
        f"server answered HTTP 302 Elsewhere instead of 101; its redirect to {shown!r} isn't followed: "
    )
    assert why in str(exc)
    assert "secret" not in str(exc)
    assert exc.response.headers["Location"] == location


async def test_a_location_whose_host_nobody_can_have_cannot_be_reached() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/": "https://no..host/"})
        with pytest.raises(ConnectError, match=r"no\.\.host.* isn't a valid host name"):
            await stack.enter_async_context(open_websocket(here.url))


async def test_several_locations_are_refused() -> None:
    moved = redirect("/a")
    moved.headers.add("Location", "http://ada:secret@h/b")
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/": moved})
        exc = await refused(here.url)
    assert exc.reason == (
        "its redirect to '/a, http://***@h/b' isn't followed: it has several locations"
    )


async def test_over_a_stream_no_redirect_is_followed() -> None:
    ours, theirs = memory_stream_pair()
    async with ScriptedPeer(theirs, Side.SERVER) as peer:
        await peer.send(redirect("/new").serialize(), b"")
        await peer.send_eof()
        exc = await refused(URL, stream=ours)
    assert exc.reason == (
        "its redirect to 'ws://example.org/new' isn't followed: a stream can't be dialled again"
    )


@pytest.mark.parametrize("by_url", [False, True])
async def test_on_a_unix_socket_redirects_are_followed_on_the_same_origin(
    by_url: bool, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    url = f"ws+unix://{path}:" if by_url else "ws://localhost"
    options: dict[str, Any] = {} if by_url else {"unix_path": path}
    async with AsyncExitStack() as stack:
        here = await site(
            stack,
            {"/a": "/b", "/b": "http://localhost/c", "/d": "http://localhost:81/e"},
            unix_path=path,
        )
        async with open_websocket(f"{url}/a", **options) as ws:
            assert ws.url == f"{url}/c"
            assert ws.remote_address == path
        exc = await refused(f"{url}/d", **options)
        assert exc.reason == (
            "its redirect to 'ws://localhost:81/e' isn't followed: it leads away from the Unix socket"
        )
        assert here.paths == ["/a", "/b", "/c", "/d"]


# -- time, cancelling and the end


@pytest.mark.usefixtures("virtual_time")
async def test_all_of_it_takes_open_timeout() -> None:
    async def slowly(ws: WebSocket, request: Request) -> Response | None:
        await anyio.sleep(4)
        return redirect(f"/{len(request.path)}{request.path[1:]}")

    async with open_server(greet, "127.0.0.1", 0, process_request=slowly) as server:
        start = anyio.current_time()
        with pytest.raises(TimeoutError, match="open_timeout, 10 seconds"):
            async with open_websocket(server.url, open_timeout=10):
                pass
        assert anyio.current_time() - start == pytest.approx(10)


@pytest.mark.usefixtures("virtual_time")
async def test_without_open_timeout_there_is_no_limit() -> None:
    async def slowly(ws: WebSocket, request: Request) -> Response | None:
        await anyio.sleep(1000)
        return redirect("/new") if request.path == "/" else None

    async with open_server(
        greet, "127.0.0.1", 0, process_request=slowly, open_timeout=None
    ) as server:
        start = anyio.current_time()
        async with open_websocket(server.url, open_timeout=None, ping_interval=None) as ws:
            assert await ws.receive() == "hello"
        assert anyio.current_time() - start == pytest.approx(2000)


@pytest.mark.usefixtures("virtual_time")
async def test_a_redirect_whose_time_is_over_is_not_followed() -> None:
    stalling = b"HTTP/1.1 302 Elsewhere\r\nLocation: /new\r\nContent-Length: 9\r\n\r\n"
    asked = 0

    async def serve(stream: anyio.abc.SocketStream) -> None:
        nonlocal asked
        async with stream:
            await stream.receive()
            asked += 1
            await stream.send(stalling)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        with pytest.raises(TimeoutError, match="open_timeout, 10"):
            async with open_websocket(f"ws://127.0.0.1:{port}/"):
                pass
        tasks.cancel_scope.cancel()
    assert asked == 1


Connect = Callable[..., Awaitable[Transport]]


async def test_a_connection_is_closed_before_the_next_is_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled: list[Any] = []

    def noting(connect: Connect) -> Connect:
        async def note(*args: Any, **options: Any) -> Transport:
            assert [sock.fileno() for sock in dialled] == [-1] * len(dialled)
            transport = await connect(*args, **options)
            dialled.append(transport.extra_attributes[SocketAttribute.raw_socket]())
            return transport

        return note

    monkeypatch.setattr(dialling, "dial", noting(dial))
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/a": "/b", "/b": "/c"})
        async with open_websocket(f"{here.url}/a") as ws:
            assert [sock.fileno() >= 0 for sock in dialled] == [False, False, True]
            assert await ws.receive() == "hello"


async def test_cancelled_wherever_it_waits_it_leaves_nothing_open() -> None:
    async def connect(url: str) -> str | bytes:
        async with open_websocket(url) as ws:
            return await ws.receive()

    async with AsyncExitStack() as stack:
        here = await site(stack, {"/a": "/b", "/b": "/c"})
        for attempt in cancel_sweep():
            with anyio.fail_after(10):
                greeting = await attempt.run(connect(f"{here.url}/a"))
            assert greeting in (None, "hello")
        assert here.paths[-3:] == ["/a", "/b", "/c"]


async def test_what_the_block_raises_comes_out_after_redirects_too() -> None:
    error = ExceptionGroup("of the body", [ValueError()])
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/a": "/b"})
        with pytest.raises(ExceptionGroup) as caught:
            async with open_websocket(f"{here.url}/a"):
                raise error
    assert caught.value is error
    assert error.__context__ is None


async def test_the_context_of_a_connection_that_was_redirected_is_entered_once() -> None:
    async with AsyncExitStack() as stack:
        here = await site(stack, {"/a": "/b"})
        context = open_websocket(f"{here.url}/a")
        async with context:
            pass
        with pytest.raises(RuntimeError, match="once"):
            await context.__aenter__()
