"""`basic_auth`: who is admitted, as whom, and what everybody else is told."""

from __future__ import annotations

import base64
import hmac
import traceback
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from anyio_ws import (
    CheckCredentials,
    InvalidStatus,
    ProcessRequest,
    Request,
    Response,
    WebSocket,
    accept_websocket,
    basic_auth,
    open_server,
    open_websocket,
)
from anyio_ws.sansio.headers import build_basic
from anyio_ws.testing import memory_stream_pair

from .helpers import REQUEST, closing
from .test_hooks import ask

CHALLENGE = 'Basic realm="the staff", charset="UTF-8"'


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.username}")


async def status_and_name(
    auth: ProcessRequest, authorization: str | Iterable[str]
) -> tuple[int, str | None]:
    """What a client with these Authorization headers is told: 101, and by what name the server knows it."""
    values = [authorization] if isinstance(authorization, str) else authorization
    headers = [("Authorization", value) for value in values]
    async with open_server(greet, "127.0.0.1", 0, process_request=auth) as server:
        try:
            async with open_websocket(server.url, additional_headers=headers) as ws:
                message = await ws.receive()
                assert isinstance(message, str)
                return 101, message.removeprefix("hello ")
        except InvalidStatus as exc:
            response = exc.response
            assert response.headers["WWW-Authenticate"] == CHALLENGE
            assert response.body == b"A user name and its password are needed.\n"
            return response.status_code, None


# -- credentials


@pytest.mark.parametrize(
    "credentials",
    [
        ("ada", "secret"),
        [("ada", "secret")],
        [("bob", "other"), ("ada", "secret"), ("eve", "third")],
        (("bob", "other"), ("ada", "secret")),
        {"bob": "other", "ada": "secret"}.items(),
        [("ada", "former"), ("ada", "secret")],
    ],
)
async def test_who_knows_a_name_and_its_password_is_admitted(
    credentials: tuple[str, str] | Iterable[tuple[str, str]],
) -> None:
    auth = basic_auth("the staff", credentials)
    assert await status_and_name(auth, build_basic("ada", "secret")) == (101, "ada")


async def test_credentials_are_read_once_and_may_be_an_iterator() -> None:
    auth = basic_auth("the staff", iter([("bob", "other"), ("ada", "secret")]))
    for _ in range(2):
        assert await status_and_name(auth, build_basic("ada", "secret")) == (101, "ada")


@pytest.mark.parametrize(
    "given",
    [
        ("ada", "Secret"),
        ("ada", "secre"),
        ("ada", "secrets"),
        ("ada", ""),
        ("Ada", "secret"),
        ("", "secret"),
        ("", ""),
        ("bob", "secret"),
        ("ada", "other"),
        ("secret", "ada"),
    ],
)
async def test_nobody_else_is(given: tuple[str, str]) -> None:
    auth = basic_auth("the staff", [("ada", "secret"), ("bob", "other")])
    assert await status_and_name(auth, build_basic(*given)) == (401, None)


async def test_no_credentials_admit_nobody() -> None:
    auth = basic_auth("the staff", [])
    assert await status_and_name(auth, build_basic("", "")) == (401, None)


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        "",
        "Basic",
        "Basic YWRhOnNlY3JldA",  # without its padding
        "Basic YWRhOnNlY3JldA===",
        "Basic !!!!",
        "Basic YWRh",  # no colon
        "Basic é",
        "Bearer YWRhOnNlY3JldA==",
        "Negotiate",
        'Digest username="ada"',
        "YWRhOnNlY3JldA==",
        [build_basic("ada", "secret")] * 2,
        [build_basic("ada", "secret"), "Bearer x"],
        f"{build_basic('ada', 'secret')}, {build_basic('ada', 'secret')}",
    ],
)
async def test_a_header_that_is_missing_malformed_or_of_another_scheme_admits_nobody(
    authorization: str | list[str],
) -> None:
    auth = basic_auth("the staff", ("ada", "secret"))
    assert await status_and_name(auth, authorization) == (401, None)


async def test_names_and_passwords_need_not_be_ascii() -> None:
    auth = basic_auth("the staff", ("jürgen", "geheim: ß"))
    for encoding in "utf-8", "iso-8859-1":
        token = base64.b64encode("jürgen:geheim: ß".encode(encoding)).decode()
        assert await status_and_name(auth, f"Basic {token}") == (101, "jürgen")
    auth = basic_auth("the staff", ("中村", "€"))
    assert await status_and_name(auth, build_basic("中村", "€")) == (101, "中村")


async def test_a_client_has_credentials_in_its_url() -> None:
    auth = basic_auth("the staff", ("jürgen@example.org", "geheim: ß/@"))
    async with open_server(greet, "127.0.0.1", 0, process_request=auth) as server:
        url = f"ws://jürgen%40example.org:geheim:%20ß%2F%40@127.0.0.1:{server.port}/"
        async with open_websocket(url) as ws:
            assert await ws.receive() == "hello jürgen@example.org"
            assert ws.url == url
            assert repr(ws).startswith(f"<WebSocket ws://127.0.0.1:{server.port}/ ")


async def test_each_of_several_is_compared_with_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    auth = basic_auth("the staff", [("ada", "secret"), ("b", "o"), ("eve", "x" * 100)])
    for given in ("ada", "secret"), ("eve", "x" * 100), ("ada", "wrong"), ("nobody", ""):
        compared.clear()
        await status_and_name(auth, build_basic(*given))
        assert compared == [(32, 32)] * 3


# -- check_credentials


async def test_a_function_may_be_asked_instead() -> None:
    asked: list[tuple[str, str]] = []

    async def check(username: str, password: str) -> bool:
        await anyio.lowlevel.checkpoint()
        asked.append((username, password))
        return password == "secret"

    auth = basic_auth("the staff", check_credentials=check)
    assert await status_and_name(auth, build_basic("ada", "secret")) == (101, "ada")
    assert await status_and_name(auth, build_basic("ada", "wrong")) == (401, None)
    assert await status_and_name(auth, "Bearer x") == (401, None)
    assert asked == [("ada", "secret"), ("ada", "wrong")]


async def test_an_object_with_an_async_call_may_be_asked() -> None:
    class Users:
        async def __call__(self, username: str, password: str) -> bool:
            return True

        async def check(self, username: str, password: str) -> bool:
            return True

    functions: list[CheckCredentials] = [Users(), Users().check]
    for check in functions:
        auth = basic_auth("the staff", check_credentials=check)
        assert await status_and_name(auth, build_basic("ada", "")) == (101, "ada")


async def test_what_it_raises_is_answered_with_500_and_admits_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def check(username: str, password: str) -> bool:
        raise ConnectionError("the database is away")

    auth = basic_auth("the staff", check_credentials=check)
    async with open_server(greet, "127.0.0.1", 0, process_request=auth) as server:
        status, headers, _ = await ask(
            server, b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\n\r\n"
        )
    assert status == b"HTTP/1.1 500 Internal Server Error"
    assert "WWW-Authenticate" not in headers
    [record] = caplog.records
    assert record.levelname == "ERROR"


@pytest.mark.usefixtures("virtual_time")
async def test_it_has_what_is_left_of_open_timeout() -> None:
    cancelled: list[float] = []

    async def check(username: str, password: str) -> bool:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(anyio.current_time() - began)
        return True

    auth = basic_auth("the staff", check_credentials=check)
    ours, theirs = memory_stream_pair()
    line = f"Authorization: {build_basic('ada', 'secret')}\r\n".encode()
    await theirs.send(REQUEST[:-2] + line + b"\r\n")
    began = anyio.current_time()
    async with closing(theirs):
        with pytest.raises(TimeoutError):
            async with accept_websocket(ours, process_request=auth, open_timeout=5):
                pytest.fail("admitted")
    assert cancelled == [pytest.approx(5)]


# -- together with other hooks


async def test_a_hook_may_ask_it_about_some_requests() -> None:
    auth = basic_auth("the staff", ("ada", "secret"))

    async def hook(ws: WebSocket, request: Request) -> Response | None:
        if request.path == "/health":
            return Response.text(200, "fine\n")
        if (refusal := await auth(ws, request)) is not None:
            return refusal
        if ws.username != "ada" or request.path == "/secret":
            return Response.text(403, "not you\n")
        return None

    async with open_server(greet, "127.0.0.1", 0, process_request=hook) as server:
        status, _, body = await ask(server, b"GET /health HTTP/1.0\r\n\r\n")
        assert (status, body) == (b"HTTP/1.1 200 OK", b"fine\n")
        status, headers, _ = await ask(server, b"GET /secret HTTP/1.0\r\n\r\n")
        assert (status, headers["WWW-Authenticate"]) == (b"HTTP/1.1 401 Unauthorized", CHALLENGE)
        url = f"ws://ada:secret@127.0.0.1:{server.port}"
        with pytest.raises(InvalidStatus, match="403"):
            async with open_websocket(f"{url}/secret"):
                pass
        async with open_websocket(url) as ws:
            assert await ws.receive() == "hello ada"


async def test_one_who_asks_for_no_websocket_is_asked_for_a_password_too() -> None:
    asked: list[str] = []

    async def page(request: Request) -> Response:
        asked.append(request.path)
        return Response.text(200, "the page\n")

    auth = basic_auth("the staff", ("ada", "secret"))
    async with open_server(greet, "127.0.0.1", 0, process_request=auth, handle_http=page) as server:
        status, _, _ = await ask(server, b"GET / HTTP/1.0\r\n\r\n")
        assert (status, asked) == (b"HTTP/1.1 401 Unauthorized", [])
        line = b"Authorization: Basic YWRhOnNlY3JldA==\r\n"
        status, _, body = await ask(server, b"GET / HTTP/1.0\r\n" + line + b"\r\n")
        assert (status, body) == (b"HTTP/1.1 200 OK", b"the page\n")


async def test_nobody_has_a_name_where_nobody_asks_for_one() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        async with open_websocket(f"ws://ada:secret@127.0.0.1:{server.port}/") as ws:
            assert await ws.receive() == "hello None"
            assert ws.username is None


# -- what makes no sense


async def check_nobody(username: str, password: str) -> bool:
    return False


def plain(username: str, password: str) -> bool:
    return True


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"credentials": None, "check_credentials": None},
        {"credentials": ("ada", "secret"), "check_credentials": check_nobody},
        {"credentials": [], "check_credentials": check_nobody},
        {"check_credentials": plain},
        {"check_credentials": "ada:secret"},
        {"credentials": "ada:secret"},
        {"credentials": ["ada", "secret"]},
        {"credentials": ("ada", b"secret")},
        {"credentials": ("ada", "secret", "more")},
        {"credentials": [("ada", "secret"), ("bob",)]},
        {"credentials": [("ada", None)]},
        {"credentials": {"ada": "secret"}},
        {"credentials": 7},
    ],
)
def test_arguments_of_other_kinds_are_a_type_error(options: Any) -> None:
    with pytest.raises(TypeError):
        basic_auth("the staff", **options)


@pytest.mark.parametrize(
    ("realm", "credentials"),
    [
        ("two\r\nlines", ("ada", "xyzzy")),
        ("caf\xe9", ("ada", "xyzzy")),
        ("the staff", ("a:da", "xyzzy")),
        ("the staff", [("ada", "xyzzy"), ("b\0", "xyzzy")]),
        ("the staff", ("ada", "xy\nzzy")),
        ("the staff", ("ada", "xy\ud800zzy")),
    ],
)
def test_what_nobody_could_send_is_a_value_error_that_tells_no_password(
    realm: str, credentials: Any
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # of several kinds
        basic_auth(realm, credentials)
    assert "zzy" not in "".join(traceback.format_exception_only(caught.value))
