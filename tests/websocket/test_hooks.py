"""What a server's hooks decide about the opening handshake, and what becomes of a hook that fails."""

from __future__ import annotations

import logging
import socket
from contextlib import AsyncExitStack

import anyio
import pytest

from anyio_ws import (
    Headers,
    InvalidHandshake,
    InvalidStatus,
    ProtocolError,
    Request,
    Response,
    State,
    WebSocket,
    WebSocketServer,
    accept_websocket,
    open_server,
    open_websocket,
)
from anyio_ws.testing import memory_stream_pair

from .helpers import REQUEST, settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def ask(server: WebSocketServer, request: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Send *request* as it is; the status line, the headers and the body of the answer, up to its end."""
    data = b""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(request)
            while True:
                try:
                    data += await stream.receive()
                except anyio.EndOfStream:
                    break
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.decode().split(": ", 1) for line in lines), body


GET = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"


# -- process_request


async def health(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(200, "fine\n") if request.path == "/health" else None


async def test_process_request_may_answer_in_place_of_the_server() -> None:
    async with open_server(echo, "127.0.0.1", 0, process_request=health) as server:
        status, headers, body = await ask(server, GET)
        assert (status, body) == (b"HTTP/1.1 200 OK", b"fine\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert headers["Content-Length"] == "5"
        assert headers["Connection"] == "close"
        assert headers["Server"] == "anyio-ws"
        assert "Date" in headers
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def test_what_a_hook_answers_with_success_is_no_failure_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "anyio_ws.server")
    async with open_server(echo, "127.0.0.1", 0, process_request=health) as server:
        await ask(server, GET)
        await ask(server, GET.replace(b"/health", b"/"))
    levels = [record.levelno for record in caplog.records if "client" in record.getMessage()]
    assert levels == [logging.DEBUG, logging.INFO]


async def test_process_request_may_refuse_a_websocket() -> None:
    async with open_server(echo, "127.0.0.1", 0, process_request=health) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(server.url + "/health"):
                pass
    assert (caught.value.response.status_code, caught.value.response.body) == (200, b"fine\n")


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [(b"GET /health HTTP/1.0", b"fine\n"), (b"HEAD /health HTTP/1.1", b"")],
    ids=["HTTP/1.0", "HEAD"],
)
async def test_a_probe_may_be_old_or_want_no_body(request_line: bytes, expected: bytes) -> None:
    async with open_server(echo, "127.0.0.1", 0, process_request=health) as server:
        status, headers, body = await ask(server, request_line + b"\r\nHost: h\r\n\r\n")
        assert (status, headers["Content-Length"], body) == (b"HTTP/1.1 200 OK", "5", expected)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_says_nothing_of_one(status: int) -> None:
    async def nothing(ws: WebSocket, request: Request) -> Response:
        return Response(status, "Nothing", Headers(), b"ignored")

    async with open_server(echo, "127.0.0.1", 0, process_request=nothing) as server:
        line, headers, body = await ask(server, GET)
        assert (line, body) == (b"HTTP/1.1 %d Nothing" % status, b"")
        assert ("Content-Length" in headers) == (status == 304)


async def test_process_request_is_shown_the_connection_before_it_is_open() -> None:
    seen: list[object] = []

    async def look(ws: WebSocket, request: Request) -> None:
        seen.extend([ws.state, ws.request is request, ws.remote_address[0], ws.url])
        with pytest.raises(ProtocolError, match="isn't over"):
            _ = ws.response
        for call in (ws.send("x"), ws.receive(), ws.ping(), ws.aclose()):
            with pytest.raises(ProtocolError, match="isn't open yet"):
                await call
        with pytest.raises(ProtocolError, match="isn't open yet"):
            ws.send_nowait("x")
        ws.user_data.name = "Ada"
        ws.username = "ada"

    async def handle(ws: WebSocket) -> None:
        seen.extend([ws.user_data.name, ws.username, ws.response.status_code])

    async with open_server(handle, "127.0.0.1", 0, process_request=look) as server:
        async with open_websocket(server.url + "/x?y=1") as ws:
            await ws.wait_closed()
    assert seen == [State.CONNECTING, True, "127.0.0.1", "/x?y=1", "Ada", "ada", 101]


async def test_a_handler_may_have_a_process_request_of_its_own() -> None:
    asked: list[str] = []

    class Greeter:
        async def process_request(self, ws: WebSocket, request: Request) -> Response | None:
            asked.append("handler")
            return Response.text(404, "no\n") if request.path == "/no" else None

        async def __call__(self, ws: WebSocket) -> None:
            await ws.send("hello")

    async def first(ws: WebSocket, request: Request) -> Response | None:
        asked.append("option")
        return Response.text(403, "never\n") if request.path == "/never" else None

    async with open_server(Greeter(), "127.0.0.1", 0, process_request=first) as server:
        async with open_websocket(server.url) as ws:
            assert await ws.receive() == "hello"
        assert asked == ["option", "handler"]
        for path, status in ("/no", 404), ("/never", 403):
            with pytest.raises(InvalidStatus) as caught:
                async with open_websocket(server.url + path):
                    pass
            assert caught.value.response.status_code == status
    assert asked == ["option", "handler", "option", "handler", "option"]


async def test_plain_http_goes_to_handle_http_and_not_to_the_handlers_own_hook() -> None:
    class NotHere:
        async def process_request(self, ws: WebSocket, request: Request) -> Response:
            return Response.text(404, "not here\n")

        async def __call__(self, ws: WebSocket) -> None:
            raise AssertionError("nobody gets here")

    async with open_server(NotHere(), "127.0.0.1", 0) as server:
        assert (await ask(server, GET))[2] == b"not here\n"
    async with open_server(NotHere(), "127.0.0.1", 0, handle_http=page) as server:
        assert (await ask(server, GET))[2] == b"<h1>/health</h1>"
        assert (await ask(server, REQUEST))[2] == b"not here\n"


# -- process_response


async def test_process_response_may_change_what_accepts() -> None:
    async def tell(ws: WebSocket, request: Request, response: Response) -> None:
        response.headers["X-Id"] = str(ws.id)

    ids: list[str] = []

    async def handle(ws: WebSocket) -> None:
        ids.extend([str(ws.id), ws.response.headers["X-Id"]])

    async with open_server(handle, "127.0.0.1", 0, process_response=tell) as server:
        async with open_websocket(server.url) as ws:
            ids.append(ws.response.headers["X-Id"])
            await ws.wait_closed()
    assert len(set(ids)) == 1


async def test_process_response_may_refuse_after_all_and_sees_refusals_too() -> None:
    seen: list[int] = []

    async def refuse(ws: WebSocket, request: Request, response: Response) -> Response | None:
        seen.append(response.status_code)
        return Response.text(403, "no\n") if response.status_code == 101 else None

    options = {"process_request": health, "process_response": refuse}
    async with open_server(echo, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]  # of each
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(server.url):
                pass
        assert caught.value.response.status_code == 403
        assert (await ask(server, GET))[2] == b"fine\n"
        assert (await ask(server, GET.replace(b"/health", b"/")))[0].startswith(b"HTTP/1.1 426 ")
    assert seen == [101, 200, 426]


# -- handle_http


async def page(request: Request) -> Response:
    return Response.text(200, f"<h1>{request.path}</h1>", {"Content-Type": "text/html"})


async def test_handle_http_answers_what_does_not_ask_for_a_websocket() -> None:
    async with open_server(echo, "127.0.0.1", 0, handle_http=page) as server:
        status, headers, body = await ask(server, GET)
        assert (status, body) == (b"HTTP/1.1 200 OK", b"<h1>/health</h1>")
        assert headers["Content-Type"] == "text/html"
        assert (await ask(server, GET.replace(b"GET", b"DELETE")))[2] == b"<h1>/health</h1>"
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        bad = REQUEST.replace(b"Version: 13", b"Version: 8")
        assert (await ask(server, bad))[0].startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize("header", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
async def test_handle_http_is_shown_no_request_with_a_body(header: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n" % header
    async with open_server(echo, "127.0.0.1", 0, handle_http=page) as server:
        assert (await ask(server, request))[0].startswith(b"HTTP/1.1 413 ")


# -- additional_headers


async def test_headers_are_added_to_what_accepts() -> None:
    given = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Server", "mine")]
    async with open_server(echo, "127.0.0.1", 0, additional_headers=given) as server:
        for _ in range(2):
            async with open_websocket(server.url) as ws:
                assert ws.response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
                assert ws.response.headers.get_all("Server") == ["mine"]


async def test_headers_may_be_made_of_the_request() -> None:
    def make(request: Request) -> dict[str, str]:
        return {"X-Path": request.path}

    async with open_server(echo, "127.0.0.1", 0, additional_headers=make) as server:
        async with open_websocket(server.url + "/a") as ws:
            assert ws.response.headers["X-Path"] == "/a"


# -- what fails


def plainly(*arguments: object) -> None:
    """What forgets to be async."""


async def asynchronously(*arguments: object) -> None:
    """What should be plain."""


@pytest.mark.parametrize("name", ["process_request", "process_response", "handle_http"])
async def test_a_hook_that_is_no_async_function_is_refused_at_once(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} must be an async function"):
        open_server(echo, "127.0.0.1", 0, **{name: plainly})  # type: ignore[arg-type]  # the mistake


async def test_what_makes_headers_is_no_async_function() -> None:
    with pytest.raises(TypeError, match="additional_headers"):
        open_server(echo, "127.0.0.1", 0, additional_headers=asynchronously)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Upgrade", "sec-websocket-accept", "Connection"])
async def test_the_headers_of_the_handshake_cannot_be_given(name: str) -> None:
    with pytest.raises(ValueError, match=name.lower()):
        open_server(echo, "127.0.0.1", 0, additional_headers={name: "x"})


async def raise_os_error(*arguments: object) -> None:
    raise OSError("the database is away")


async def return_text(*arguments: object) -> str:
    return "no response"


async def return_101(*arguments: object) -> Response:
    return Response(101, "Switching Protocols")


def bad_headers(request: Request) -> dict[str, str]:
    return {"X": "a\r\nb"}


FAILING = {
    "process_request": (raise_os_error, OSError, "database"),
    "process_response": (return_text, TypeError, "Response"),
    "handle_http": (asynchronously, TypeError, "Response"),
    "additional_headers": (bad_headers, ValueError, "X"),
}


@pytest.mark.parametrize("name", FAILING)
async def test_a_hook_that_fails_is_answered_with_500_and_logged_with_its_traceback(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook, error, match = FAILING[name]
    request = GET if name == "handle_http" else REQUEST
    async with open_server(echo, "127.0.0.1", 0, **{name: hook}) as server:  # type: ignore[arg-type]  # of each
        status, _, body = await ask(server, request)
    assert (status, body) == (b"HTTP/1.1 500 Internal Server Error", b"Internal Server Error\n")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], error)
    assert match in str(record.exc_info[1])


async def test_a_hook_cannot_accept_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with open_server(echo, "127.0.0.1", 0, process_request=return_101) as server:
        assert (await ask(server, REQUEST))[0].startswith(b"HTTP/1.1 500 ")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "101" in str(record.exc_info[1])


async def test_what_a_hook_raises_comes_out_of_accept_websocket_as_it_is() -> None:
    error = RuntimeError("mine")

    async def fail(ws: WebSocket, request: Request) -> None:
        raise error

    ours, theirs = memory_stream_pair()
    async with theirs:
        await theirs.send(REQUEST)
        with pytest.raises(RuntimeError) as caught:
            async with accept_websocket(ours, process_request=fail, close_timeout=0):
                pass
    assert caught.value is error


# -- a hook that takes its time


async def test_shutting_down_cancels_a_hook_and_answers_with_503() -> None:
    asked = anyio.Event()
    ended: list[str] = []

    async def slow(ws: WebSocket, request: Request) -> None:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("hook")

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            open_server(echo, "127.0.0.1", 0, process_request=slow)
        )
        answers: list[bytes] = []

        async def client() -> None:
            answers.append((await ask(server, REQUEST))[0])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client)
            await asked.wait()
            await server.shutdown()
        assert answers == [b"HTTP/1.1 503 Service Unavailable"]
        assert ended == ["hook"]


@pytest.mark.usefixtures("virtual_time")
async def test_a_hook_has_what_is_left_of_open_timeout() -> None:
    async def slow(ws: WebSocket, request: Request) -> None:
        await anyio.sleep_forever()

    ours, theirs = memory_stream_pair()
    async with theirs:
        await theirs.send(REQUEST)
        start = anyio.current_time()
        with pytest.raises(TimeoutError, match="open_timeout, 7"):
            async with accept_websocket(ours, process_request=slow, open_timeout=7):
                pass
        assert anyio.current_time() - start == pytest.approx(7)


async def test_a_client_that_leaves_while_a_hook_works_is_no_error_of_the_hook(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked, release = anyio.Event(), anyio.Event()

    async def slow(ws: WebSocket, request: Request) -> None:
        asked.set()
        await release.wait()

    caplog.set_level(logging.INFO)
    async with open_server(echo, "127.0.0.1", 0, process_request=slow) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(REQUEST)
            await asked.wait()
        release.set()
        await settle()
    assert all(record.levelno == logging.INFO for record in caplog.records)


# -- requests that don't come


async def test_a_request_that_does_not_come_in_time_is_answered_with_408() -> None:
    async with open_server(echo, "127.0.0.1", 0, open_timeout=0.05) as server:
        status, headers, _ = await ask(server, REQUEST[:40])
        assert status == b"HTTP/1.1 408 Request Timeout"
        assert headers["Connection"] == "close"


async def test_cancelling_answers_a_handshake_in_progress_with_503() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept, ours)
            await settle()
            tasks.cancel_scope.cancel()
        assert theirs.recv(1000).startswith(b"HTTP/1.1 503 ")


async def accept(sock: socket.socket) -> None:
    async with accept_websocket(sock):
        raise AssertionError("nobody asked")


async def test_a_refusal_is_an_invalid_handshake_for_accept_websocket() -> None:
    ours, theirs = memory_stream_pair()
    async with theirs:
        await theirs.send(REQUEST.replace(b"/feed", b"/health"))
        with pytest.raises(InvalidHandshake, match="200"):
            async with accept_websocket(ours, process_request=health, close_timeout=0):
                pass
