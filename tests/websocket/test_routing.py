"""`Router`: where a request leads, with which parameters, and what is answered if it leads nowhere."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from types import FrameType
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws import (
    Headers,
    InvalidStatus,
    Request,
    Response,
    Router,
    WebSocket,
    WebSocketServer,
    accept_websocket,
    endpoint,
    open_server,
    open_websocket,
    serve_websocket,
)
from anyio_ws.testing import memory_stream_pair

from .test_hooks import ask


async def tell(ws: WebSocket, **parameters: str) -> None:
    """Send what it was called with."""
    await ws.send(repr(parameters))


async def named(name: str, ws: WebSocket, **parameters: str) -> None:
    await ws.send(f"{name} {parameters}")


def router_of(*paths: str) -> Router:
    """A router whose handlers say by which path they were reached."""
    router = Router()
    for path in paths:
        router.add(path, partial(named, path))
    return router


async def reached(server: WebSocketServer, path: str) -> str:
    """What the handler for *path* says, or the status of the refusal."""
    try:
        async with open_websocket(server.url + path) as ws:
            return str(await ws.receive())
    except InvalidStatus as exc:
        return str(exc.response.status_code)


class Stand:
    """A connection as far as a router cares, without one: it keeps what it is told."""

    path_parameters: dict[str, str]

    def __init__(self) -> None:
        self.path_parameters = {}


UPGRADE = Headers({"Upgrade": "websocket"})


def route(router: Router, target: str) -> str | int:
    """The path of the route that *target* leads to, or the status of the refusal; without I/O."""
    found: list[str] = []

    async def look() -> Response | None:
        stand: Any = Stand()
        answer = await router.process_request(stand, Request(target, UPGRADE))
        if answer is None:
            handler = router._found[stand].handler
            assert isinstance(handler, partial)
            found.append(handler.args[0])
            parameters.clear()
            parameters.update(stand.path_parameters)
        return answer

    answer = run(look())
    return found[0] if answer is None else answer.status_code


parameters: dict[str, str] = {}
"""Those of the last `route`."""


def run(coroutine: Any) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


# -- what matches


async def test_each_path_has_its_handler_and_parameters_come_by_keyword() -> None:
    router = Router()

    @router.route("/")
    async def index(ws: WebSocket) -> None:
        await ws.send("index")

    @router.route("/rooms/{room}/{user}")
    async def chat(ws: WebSocket, user: str, room: str) -> None:
        await ws.send(f"{user} in {room}")

    @router.route("/files/{path...}")
    async def file(ws: WebSocket, *, path: str) -> None:
        await ws.send(f"file {path}")

    async with open_server(router, "127.0.0.1", 0) as server:
        assert await reached(server, "") == "index"
        assert await reached(server, "/") == "index"
        assert await reached(server, "/?room=x") == "index"
        assert await reached(server, "/rooms/caf%C3%A9/a%2Fb?x=/y") == "a/b in café"
        assert await reached(server, "/files/a/b%20c/") == "file a/b c/"
        assert await reached(server, "/files/") == "file "
        for nowhere in "/files", "/rooms", "/rooms/a", "/rooms//a", "/rooms/a/b/", "//", "/rooms/%":
            assert await reached(server, nowhere) in ("404", "400"), nowhere


ORDER = ["/a/b", "/a/{x}", "/a/{x...}", "/{x}/b", "/{x}/{y}", "/{x}/{y...}", "/{x...}"]


@pytest.mark.parametrize("seed", range(5))
def test_the_more_exact_route_goes_first_whatever_was_added_first(seed: int) -> None:
    paths = ORDER[seed:] + ORDER[:seed]
    for some in itertools.chain([paths, paths[::-1]], itertools.combinations(paths, 3)):
        router = router_of(*some)
        fits = [path for path in ORDER if path in some]
        assert route(router, "/a/b") == fits[0]


@pytest.mark.parametrize(
    ("paths", "target", "expected"),
    [
        (["/a/b", "/{x}/c"], "/a/c", "/{x}/c"),
        (["/a/b/c", "/{x}/b/d", "/a/{x}/e"], "/a/b/d", "/{x}/b/d"),
        (["/a/{x...}", "/{x}/b"], "/a/b", "/a/{x...}"),
        (["/a/{x}/c", "/{x...}"], "/a/b/d", "/{x...}"),
        (["/{x}"], "/", 404),
        (["/{x}/b"], "//b", 404),
        (["/{x...}"], "/", "/{x...}"),
        (["/a/"], "/a", 404),
        (["/a"], "/a/", 404),
        (["/A"], "/a", 404),
        (["/a b"], "/a%20b", "/a b"),
        (["/a%20b"], "/a%20b", "/a%20b"),
        (["/é"], "/%c3%A9", "/é"),
        (["/%7Bx%7D"], "/%7bx%7d", "/%7Bx%7D"),
        (["/a%2Fb"], "/a/b", 404),
        (["/a%2Fb"], "/a%2fb", "/a%2Fb"),
        (["/a"], "http://example.org/a?b", "/a"),
        (["/"], "http://example.org", "/"),
        (["/{x...}"], "*", 404),
        ([], "/", 404),
        (["/a"], "/%", 400),
        (["/{x...}"], "/a/%zz", 400),
        (["/{x}"], "/%ff", 400),
        (["/a"], "/a?%zz", "/a"),
    ],
)
def test_what_leads_where(paths: list[str], target: str, expected: str | int) -> None:
    assert route(router_of(*paths), target) == expected


def test_a_parameter_may_be_any_text() -> None:
    router = router_of("/{a}/{b...}")
    assert route(router, "/..%2f%00/%2e%2e//%F0%9F%90%99/") == "/{a}/{b...}"
    assert parameters == {"a": "../\0", "b": "..//🐙/"}


WORDS = st.sampled_from(["a", "b", "ab", "é", " ", "%", "{", "/", ".."])
SEGMENTS = st.one_of(WORDS, st.just(("one",)))
quick = settings(max_examples=100)  # a machine may be busy

ROUTES = st.tuples(st.lists(SEGMENTS, min_size=1, max_size=4), st.booleans())


def written(segments: list[Any], with_rest: bool) -> str:
    """The path of a route."""
    texts = [
        f"{{p{place}}}" if isinstance(segment, tuple) else quote(segment, safe="")
        for place, segment in enumerate(segments)
    ]
    return "/" + "/".join([*texts, "{rest...}"] if with_rest else texts)


def rank(segments: list[Any], with_rest: bool, wanted: list[str]) -> list[int] | None:
    """How exactly a route fits, the smaller the better; None if it doesn't: the rule, as it is told."""
    if len(wanted) < len(segments) + with_rest or (not with_rest and len(wanted) > len(segments)):
        return None
    ranks = []
    for segment, text in zip(segments, wanted, strict=False):
        if isinstance(segment, tuple):
            if not text:
                return None
            ranks.append(1)
        elif segment == text:
            ranks.append(0)
        else:
            return None
    return [*ranks, 2] if with_rest else ranks


@quick
@given(
    st.lists(ROUTES, max_size=12), st.lists(st.one_of(st.just(""), WORDS), min_size=1, max_size=6)
)
def test_any_routes_lead_where_the_rule_says(
    routes: list[tuple[list[Any], bool]], wanted: list[str]
) -> None:
    router = Router()
    fits = {}
    for segments, with_rest in routes:
        path = written(segments, with_rest)
        if path not in fits:
            router.add(path, partial(named, path))
        fits[path] = rank(segments, with_rest, wanted)
    ranked = sorted((how, path) for path, how in fits.items() if how is not None)
    target = "/" + "/".join(quote(text, safe="") for text in wanted)
    assert route(router, target) == (ranked[0][1] if ranked else 404)
    if ranked:
        for name, value in parameters.items():
            place = (
                ranked[0][1]
                .split("/")[1:]
                .index(f"{{{name}...}}" if name == "rest" else f"{{{name}}}")
            )
            assert value == ("/".join(wanted[place:]) if name == "rest" else wanted[place])


@quick
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
def test_no_target_makes_a_router_raise(target: str) -> None:
    assert route(router_of("/", "/a/{b}", "/a/{b}/{c...}"), "/a/" + target) in (
        "/a/{b}", "/a/{b}/{c...}", 400, 404,
    )  # fmt: skip
    assert route(router_of("/{x...}"), target) in ("/{x...}", 400, 404)


def lines_executed(function: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("target", ["/7/x/end", "/7/x/nowhere", "/nowhere"])
def test_many_routes_cost_as_little_as_few(target: str) -> None:
    few = router_of(*(f"/{n}/{{x}}/end" for n in range(10)))
    many = router_of(*(f"/{n}/{{x}}/end" for n in range(2000)))
    cost = lines_executed(lambda: route(few, target))
    assert lines_executed(lambda: route(many, target)) <= cost + 10


def test_a_path_of_many_segments_costs_no_more_than_the_longest_route() -> None:
    router = router_of("/a/{b}/{c...}")
    cost = lines_executed(lambda: route(router, "/a/b/c/d"))
    assert lines_executed(lambda: route(router, "/a/b" + "/c" * 4000)) <= cost + 10


# -- what can't be added


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", r"begins with a slash: '', from character 1: ''"),
        ("a", r"begins with a slash"),
        ("http://h/", r"begins with a slash"),
        ("/a//b", r"empty segment: '/a//b', from character 3: '//b'"),
        ("/a/b?c", r"nothing else: '/a/b\?c', from character 5: '\?c'"),
        ("/a#b", r"nothing else: .* from character 3: '#b'"),
        ("/a/{b", r"in braces: '/a/\{b', from character 4: '\{b'"),
        ("/a/b}/c", r"in braces: .* from character 4: 'b\}/c'"),
        ("/v{n}", r"in braces: .* from character 2"),
        ("/{a}-{b}", r"'a\}-\{b' can't be the name"),
        ("/{}", r"'' can't be the name .*: '/\{\}', from character 3"),
        ("/{...}", r"'' can't be the name"),
        ("/{a b}", r"'a b' can't be the name"),
        ("/{class}", r"'class' can't be the name"),
        ("/{a}/x/{a}", r"another \{a\}: .* from character 8: '\{a\}'"),
        ("/{a...}/b", r"only the last .*: '/\{a\.\.\.\}/b', from character 2"),
        ("/{a...}/", r"only the last"),
        ("/a/%zz", r"'%zz' is no percent-encoded byte: .* from character 4: '%zz'"),
        ("/%ff", r"from character 2"),
    ],
)
def test_a_malformed_path_is_a_value_error_that_shows_the_place(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Router().add(path, tell)


def test_what_is_no_path_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="must be a str"):
        Router().route(tell)(tell)  # type: ignore[arg-type]  # the decorator, not called


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/", "/"),
        ("/a b", "/a%20b"),
        ("/a/{x}", "/a/{y}"),
        ("/{x}/b/{y...}", "/{y}/b/{x...}"),
        ("/{x...}", "/{rest...}"),
    ],
)
def test_two_routes_that_are_the_same_are_a_value_error_naming_both(one: str, other: str) -> None:
    router = router_of(one)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message follows
        router.add(other, tell)
    assert str(caught.value) == f"{other!r} is the same route as {one!r}"


async def no_parameters(ws: WebSocket) -> None: ...
async def one_parameter(ws: WebSocket, name: str) -> None: ...
async def by_keyword(ws: WebSocket, *, name: str) -> None: ...
async def only_by_place(ws: WebSocket, name: str, /) -> None: ...
async def only_a_name(name: str) -> None: ...
def plain(ws: WebSocket) -> None: ...


@pytest.mark.parametrize(
    ("path", "handler"),
    [
        ("/{name}", no_parameters),
        ("/{nam}", one_parameter),
        ("/{name}/{other}", one_parameter),
        ("/", by_keyword),
        ("/{name}", only_by_place),
        ("/{name}", only_a_name),
        ("/{name}", partial(no_parameters)),
        ("/", plain),
        ("/", partial(plain)),
        ("/", "handler"),
    ],
)
def test_a_handler_that_could_not_be_called_is_refused_when_it_is_added(
    path: str, handler: Any
) -> None:
    router = Router()
    with pytest.raises(TypeError, match=f"handler of '{path}'"):
        router.add(path, handler)
    router.add(path, tell)  # nothing is left of the attempt


def test_a_hook_that_is_no_async_function_is_refused_when_it_is_added() -> None:
    class Section:
        process_request = plain

        async def __call__(self, ws: WebSocket) -> None: ...

    with pytest.raises(TypeError, match="process_request must be an async function"):
        Router().add("/", Section())
    with pytest.raises(TypeError, match="process_request must be an async function"):
        Router().add("/", tell, process_request=plain)  # type: ignore[arg-type]  # the mistake


def test_what_has_no_signature_is_taken_at_its_word() -> None:
    written_in_c: Any = iter
    Router().add("/{name}", written_in_c)


# -- what is answered


async def test_a_path_that_leads_nowhere_is_answered_with_a_short_text() -> None:
    async with open_server(router_of("/a"), "127.0.0.1", 0) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(server.url + "/secret/<script>"):
                pass
        response = caught.value.response
        assert (response.status_code, response.body) == (404, b"There is nothing at this path.\n")
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        status, _, body = await ask(
            server, b"GET /%zz HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"
        )
        assert (status[9:12], body) == (b"400", b"The path isn't percent-encoded UTF-8.\n")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (b"/a", b"GET", b"426"),
        (b"/a", b"POST", b"405"),
        (b"/a", b"HEAD", b"405"),
        (b"/nowhere", b"GET", b"404"),
        (b"/nowhere", b"POST", b"404"),
        (b"/%zz", b"GET", b"400"),
    ],
)
async def test_requests_for_something_else_are_told_what_they_lack(
    path: bytes, method: bytes, status: bytes
) -> None:
    async with open_server(router_of("/a"), "127.0.0.1", 0) as server:
        answer, headers, _ = await ask(
            server, b"%s %s HTTP/1.1\r\nHost: h\r\n\r\n" % (method, path)
        )
    assert answer[9:12] == status
    assert headers.get("Allow") == ("GET" if status == b"405" else None)


@pytest.mark.parametrize(("path", "status"), [(b"/a", b"405"), (b"/nowhere", b"404")])
async def test_another_method_that_asks_for_a_websocket_is_refused(
    path: bytes, status: bytes
) -> None:
    request = (
        b"POST %s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" % path
    )
    async with open_server(router_of("/a"), "127.0.0.1", 0) as server:
        assert (await ask(server, request))[0][9:12] == status


async def test_handle_http_answers_at_any_path() -> None:
    async def page(request: Request) -> Response:
        return Response.text(200, request.path)

    async with open_server(router_of("/a"), "127.0.0.1", 0, handle_http=page) as server:
        for path in b"/a", b"/health":
            status, _, body = await ask(server, b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            assert (status[9:12], body) == (b"200", path)
        assert await reached(server, "/a") == "/a {}"
        assert await reached(server, "/health") == "404"


# -- hooks and sections


class Section:
    """A handler with a hook of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def process_request(self, ws: WebSocket, request: Request) -> Response | None:
        asked.append(f"{self.name} {request.path} {dict(ws.path_parameters)}")
        return Response.text(401, "no\n") if "guest" in request.path else None

    async def __call__(self, ws: WebSocket, **parameters: str) -> None:
        await named(self.name, ws, **parameters)


asked: list[str] = []


async def test_a_handlers_own_hook_is_asked_after_the_match() -> None:
    asked.clear()
    router = router_of("/open/{x}")
    router.add("/{user}/feed", Section("feed"))
    async with open_server(router, "127.0.0.1", 0) as server:
        assert await reached(server, "/open/guest") == "/open/{x} {'x': 'guest'}"
        assert await reached(server, "/ada/feed?q=1") == "feed {'user': 'ada'}"
        assert await reached(server, "/guest/feed") == "401"
        assert await reached(server, "/guest/nowhere") == "404"
    assert asked == ["feed /ada/feed?q=1 {'user': 'ada'}", "feed /guest/feed {'user': 'guest'}"]


async def test_the_hook_of_a_route_is_asked_before_the_handlers_own() -> None:
    asked.clear()

    async def hook(ws: WebSocket, request: Request) -> Response | None:
        asked.append(f"route {request.path} {dict(ws.path_parameters)}")
        return Response.text(403, "no\n") if "q=stop" in request.path else None

    router = Router()
    router.route("/{user}/{rest...}", process_request=hook)(Section("own"))
    async with open_server(router, "127.0.0.1", 0) as server:
        assert await reached(server, "/ada/x?q=1") == "own {'user': 'ada', 'rest': 'x'}"
        assert await reached(server, "/ada/x?q=stop") == "403"
        assert await reached(server, "/ada/guest") == "401"
    assert asked == [
        "route /ada/x?q=1 {'user': 'ada', 'rest': 'x'}",
        "own /x?q=1 {'user': 'ada', 'rest': 'x'}",
        "route /ada/x?q=stop {'user': 'ada', 'rest': 'x'}",
        "route /ada/guest {'user': 'ada', 'rest': 'guest'}",
        "own /guest {'user': 'ada', 'rest': 'guest'}",
    ]


async def test_a_router_in_a_router_knows_nothing_of_what_is_above() -> None:
    async def chat(ws: WebSocket, room: str) -> None:
        await ws.send(f"{room} {dict(ws.path_parameters)} {ws.url}")

    rooms = router_of("/", "/{rest...}")
    rooms.add("/{room}/chat", chat)
    router = router_of("/about")
    router.add("/{user}/rooms/{rest...}", rooms)
    router.add("/rooms/{rest...}", rooms)
    async with open_server(router, "127.0.0.1", 0) as server:
        assert await reached(server, "/ada/rooms/") == "/ {}"
        assert await reached(server, "/rooms/?q=1") == "/ {}"
        assert await reached(server, "/ada/rooms/a%2Fb/chat?q") == (
            "a/b {'user': 'ada', 'rest': 'a/b/chat', 'room': 'a/b'} /ada/rooms/a%2Fb/chat?q"
        )
        assert await reached(server, "/rooms/a/b") == "/{rest...} {'rest': 'a/b'}"
        assert await reached(server, "/ada/rooms") == "404"


async def test_every_connection_has_its_own_parameters_and_others_have_none() -> None:
    async def parameters(ws: WebSocket) -> None:
        await ws.send(str(dict(ws.path_parameters)))

    router = Router()
    router.add("/{x}", tell)
    async with open_server(router, "127.0.0.1", 0) as server, AsyncExitStack() as stack:
        several = [
            await stack.enter_async_context(open_websocket(f"{server.url}/{n}")) for n in range(5)
        ]
        said = [await ws.receive() for ws in reversed(several)]
        assert said == [f"{{'x': '{n}'}}" for n in reversed(range(5))]
        assert several[0].path_parameters == {}
    async with open_server(parameters, "127.0.0.1", 0) as server:
        assert await reached(server, "/a") == "{}"


async def test_a_handler_of_a_router_that_fails_closes_its_own_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(ws: WebSocket) -> None:
        raise ValueError("mine")

    router = router_of("/good")
    router.add("/bad", fail)
    async with open_server(router, "127.0.0.1", 0) as server:
        async with open_websocket(server.url + "/bad") as ws:
            await ws.wait_closed()
            assert ws.close_code == 1011
        assert await reached(server, "/good") == "/good {}"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "mine"


# -- under whatever serves


async def test_serve_websocket_serves_a_router() -> None:
    async with anyio.create_task_group() as tasks:
        serve = partial(serve_websocket, router_of("/{x}"), "127.0.0.1", 0)
        server: WebSocketServer = await tasks.start(serve)
        assert await reached(server, "/a") == "/{x} {'x': 'a'}"
        tasks.cancel_scope.cancel()


async def test_an_endpoint_serves_a_router_and_hands_its_own_arguments_on() -> None:
    async def greet(greeting: str, ws: WebSocket, name: str) -> None:
        await ws.send(f"{greeting} {name}")

    router = Router()
    router.add("/{name}", greet)
    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(router), "hello", ours)
        async with open_websocket("ws://h/Ada", stream=theirs) as ws:
            assert await ws.receive() == "hello Ada"


async def test_accept_websocket_is_given_the_routers_hook() -> None:
    router = router_of("/{x}")
    errors: list[str] = []

    async def serve(stream: Any, **options: Any) -> None:
        async with accept_websocket(stream, **options) as ws:
            try:
                await router(ws)
            except RuntimeError as exc:
                errors.append(str(exc))

    async with anyio.create_task_group() as tasks:
        ours, theirs = memory_stream_pair()
        tasks.start_soon(partial(serve, ours, process_request=router.process_request))
        async with open_websocket("ws://h/a", stream=theirs) as ws:
            assert await ws.receive() == "/{x} {'x': 'a'}"
        ours, theirs = memory_stream_pair()
        tasks.start_soon(serve, ours)
        async with open_websocket("ws://h/a", stream=theirs) as ws:
            await ws.wait_closed()
    assert len(errors) == 1
    assert "wasn't asked" in errors[0]


async def test_routes_may_be_added_while_it_serves() -> None:
    router = Router()
    async with open_server(router, "127.0.0.1", 0) as server:
        assert await reached(server, "/a/b/c") == "404"
        router.add("/a/b/c", tell)
        assert await reached(server, "/a/b/c") == "{}"


def test_a_connection_that_was_never_opened_is_not_kept() -> None:
    router = router_of("/")
    stand: Any = Stand()
    assert run(router.process_request(stand, Request("/", UPGRADE))) is None
    gone = weakref.ref(stand)
    del stand
    gc.collect()
    assert gone() is None
    assert len(router._found) == 0
