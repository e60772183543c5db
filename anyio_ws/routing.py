"""Paths to handlers: `Router`, a handler that finds another one by the path of the request.

The routes are a tree, with a node for every segment of a path and a dictionary in each node, so finding one
takes no longer because there are many. Where both a name and a parameter fit, the second branch is tried if
the first leads nowhere; the routes bound how often that can be, and a client can't choose them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from keyword import iskeyword
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from .options import ProcessRequest, check_async
from .sansio import Request, Response
from .sansio.uri import split_target, unquote
from .service import AnyHandler, check_handler
from .websocket import WebSocket

__all__ = ["Router"]

NOT_FOUND: Final = "There is nothing at this path.\n"
NOT_A_PATH: Final = "The path isn't percent-encoded UTF-8.\n"

_Handler = TypeVar("_Handler", bound=AnyHandler)


class Router:
    """A handler that calls others, each for its path: ``open_server(router, ...)``.

    A path is made of segments, which begin with a slash each, and are of three kinds:

    - ``/rooms``: just that;
    - ``/{name}``: any one segment, which isn't empty;
    - ``/{rest...}``, the last: all that is left, slashes and all, and be it only a slash.

    They are compared as what they mean, decoded, and one by one from the left: a segment as it is goes before
    a parameter, and a parameter before the rest, in whatever order the routes were added. A slash at the end
    makes a difference, a query doesn't.

    What the parameters stand for, decoded, is given to the handler by keyword:
    ``async def chat(ws, name)`` for ``/rooms/{name}``. Hooks, which are called with the connection only, find
    it in `WebSocket.path_parameters`. It is what the client chose: any text, a slash or ``..`` among it.

    A handler may be a router itself, or bring a ``process_request`` of its own in another way. Below
    ``/{rest...}`` it is shown the request with that rest for a path, so that a router there knows nothing of
    what is above; its handlers are given their own parameters, and find the others in
    `WebSocket.path_parameters`.

    A request for a path that leads nowhere is answered with 404, and with 400 if the path can't be decoded.
    With ``handle_http``, requests that don't ask for a WebSocket go there and not here.
    """

    def __init__(self) -> None:
        self._root = _Node()
        self._longest = 0  # segments of a route
        # From the answer to the request to the call of the handler, which there may never be.
        self._found: WeakKeyDictionary[WebSocket, _Found] = WeakKeyDictionary()

    def add(
        self, path: str, handler: AnyHandler, *, process_request: ProcessRequest | None = None
    ) -> None:
        """Let *handler* have the connections for *path*.

        :param process_request: asked about requests for *path*, as the option of that name is, and before a
            ``process_request`` of the handler's own
        :raises ValueError: *path* is malformed, or another route is the same
        :raises TypeError: *handler* or *process_request* is no async function; or *handler* doesn't take the
            parameters of *path*
        """
        pattern = _parse(path)
        own = check_handler(handler, f"the handler of {path!r}")
        if process_request is not None:
            check_async("process_request", process_request)
        _check_parameters(path, handler, pattern.names)
        route = _Route(path, pattern, handler, process_request, own)
        self._root.insert(route)
        self._longest = max(self._longest, len(pattern.segments))

    def route(
        self, path: str, *, process_request: ProcessRequest | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Decorate a handler to `add` it: ``@router.route("/rooms/{name}")``. It remains what it is."""

        def decorate(handler: _Handler) -> _Handler:
            self.add(path, handler, process_request=process_request)
            return handler

        return decorate

    async def process_request(self, ws: WebSocket, request: Request) -> Response | None:
        """Find the handler for a request, and ask about it who has something to say; called by the server."""
        path, query = split_target(request.path)
        raw = path.split("/", self._longest + 1)[1:]
        try:
            segments = [unquote(segment) for segment in raw]
        except ValueError:
            return Response.text(400, NOT_A_PATH)
        route = self._root.find(segments, 0)
        if route is None:
            return Response.text(404, NOT_FOUND)
        pattern = route.pattern
        parameters = {name: segments[place] for name, place in pattern.names.items()}
        below = request
        if pattern.rest is not None:
            place = pattern.names[pattern.rest]
            parameters[pattern.rest] = "/".join(segments[place:])
            below = replace(request, path=f"/{'/'.join(raw[place:])}{query}")
        self._found[ws] = _Found(route.handler, parameters)
        ws.path_parameters = MappingProxyType({**ws.path_parameters, **parameters})
        if route.process_request is not None:
            answer = await route.process_request(ws, request)
            if answer is not None:
                return answer
        return None if route.own is None else await route.own(ws, below)

    async def __call__(self, /, *arguments: Any, **parameters: str) -> None:
        """Call the handler for the last of *arguments*, a connection; the server does that.

        :param arguments: handed on
        :param parameters: of a router above; they are in `WebSocket.path_parameters`
        :raises RuntimeError: this router's `process_request` wasn't asked about the connection
        """
        found = self._found.pop(arguments[-1], None)
        if found is None:
            raise RuntimeError(
                "the router wasn't asked about this connection: "
                "whoever accepts it must be given the router's process_request"
            )
        await found.handler(*arguments, **found.parameters)


class _Found(NamedTuple):
    handler: AnyHandler
    parameters: Mapping[str, str]


class _Parameter(NamedTuple):
    name: str
    is_rest: bool


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path that was understood."""

    segments: tuple[str | _Parameter, ...]
    names: Mapping[str, int]
    """Of the parameters, with the numbers of their segments."""
    rest: str | None
    """The name of the last one, if it stands for all that is left."""


@dataclass(frozen=True, slots=True)
class _Route:
    path: str
    pattern: _Pattern
    handler: AnyHandler
    process_request: ProcessRequest | None
    own: ProcessRequest | None
    """The handler's own ``process_request``."""


@dataclass(slots=True)
class _Node:
    """What may follow after some segments."""

    children: dict[str, _Node] = field(default_factory=dict["str", "_Node"])
    parameter: _Node | None = None
    route: _Route | None = None
    """For what ends here."""
    rest: _Route | None = None
    """For whatever else follows."""

    def insert(self, route: _Route) -> None:
        """Add a route.

        :raises ValueError: it is there already
        """
        node = self
        for segment in route.pattern.segments:
            if isinstance(segment, str):
                node = node.children.setdefault(segment, _Node())
            elif segment.is_rest:
                _check_new(node.rest, route)
                node.rest = route
                return
            else:
                node.parameter = node.parameter or _Node()
                node = node.parameter
        _check_new(node.route, route)
        node.route = route

    def find(self, segments: list[str], place: int) -> _Route | None:
        """Find the route for the *segments* from *place* on."""
        if place == len(segments):
            return self.route
        segment = segments[place]
        found: _Route | None = None
        if (child := self.children.get(segment)) is not None:
            found = child.find(segments, place + 1)
        if found is None and segment and self.parameter is not None:
            found = self.parameter.find(segments, place + 1)
        return found or self.rest


def _check_new(before: _Route | None, route: _Route) -> None:
    if before is not None:
        raise ValueError(f"{route.path!r} is the same route as {before.path!r}")


def _parse(path: str) -> _Pattern:
    """Understand the path of a route.

    :raises ValueError: it is malformed
    """
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # @router.route, uncalled
        raise TypeError(f"a route's path must be a str, not {path!r}")
    if not path.startswith("/"):
        raise _malformed(path, 0, "a route begins with a slash")
    for mark in "?#":
        if mark in path:
            raise _malformed(path, path.index(mark), "a route is a path and nothing else")
    segments: list[str | _Parameter] = []
    names: dict[str, int] = {}
    rest: str | None = None
    start = 1  # of the segment
    for text in path[1:].split("/"):
        segment = _parse_segment(path, start, text)
        last = start + len(text) == len(path)
        if not text and not last:
            raise _malformed(path, start - 1, "there is an empty segment")
        if isinstance(segment, _Parameter):
            if segment.name in names:
                raise _malformed(path, start, f"there is another {{{segment.name}}}")
            names[segment.name] = len(segments)
            if segment.is_rest:
                if not last:
                    raise _malformed(path, start, "only the last segment can be the rest")
                rest = segment.name
        segments.append(segment)
        start += len(text) + 1
    return _Pattern(tuple(segments), names, rest)


def _parse_segment(path: str, start: int, text: str) -> str | _Parameter:
    if "{" not in text and "}" not in text:
        try:
            return unquote(text)
        except ValueError as exc:
            raise _malformed(path, start, str(exc)) from None
    if not (text[0] == "{" and text[-1] == "}"):
        raise _malformed(path, start, "a parameter is a segment in braces")
    name = text[1:-1].removesuffix("...")
    if not name.isidentifier() or iskeyword(name):
        raise _malformed(path, start + 1, f"{name!r} can't be the name of a parameter")
    return _Parameter(name, is_rest=text.endswith("...}"))


def _malformed(path: str, place: int, why: str) -> ValueError:
    return ValueError(f"{why}: {path!r}, from character {place + 1}: {path[place:]!r}")


def _check_parameters(path: str, handler: AnyHandler, names: Mapping[str, int]) -> None:
    """Refuse a handler that can't be called with such parameters, whatever comes before them.

    What comes before is the connection, and what `endpoint` is called with before the stream.

    :raises TypeError: it can't
    """
    try:
        signature = inspect.signature(handler)
    except ValueError:  # of something that isn't written in Python
        return
    why: TypeError | None = None
    for count in range(1, max(len(signature.parameters), 1) + 1):
        try:
            signature.bind(*[None] * count, **dict.fromkeys(names))
        except TypeError as exc:
            why = why or exc
        else:
            return
    raise TypeError(f"the handler of {path!r} can't be called with its parameters: {why}")
