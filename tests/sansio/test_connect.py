"""CONNECT: what is asked of an HTTP proxy, and what its answers mean."""

from __future__ import annotations

import pytest

from anyio_ws.exceptions import InvalidMessage, ProxyError
from anyio_ws.sansio.connect import ConnectProtocol
from anyio_ws.sansio.uri import ProxyURI

from .helpers import SPLITS, Split

PROXY = ProxyURI("http", "proxy.example", 3128)


def receive(protocol: ConnectProtocol, data: bytes, split: Split) -> bytes | None:
    """Take *data* in pieces; what is left behind the answer comes out of the tunnel."""
    pieces = list(split(data))
    while pieces:
        early = protocol.receive_data(pieces.pop(0))
        if early is not None:
            return early + b"".join(pieces)
    return None


@pytest.mark.parametrize(
    ("host", "target"),
    [("example.org", "example.org:443"), ("::1", "[::1]:443"), ("127.0.0.1", "127.0.0.1:443")],
)
def test_the_request_names_host_and_port(host: str, target: str) -> None:
    request = ConnectProtocol(PROXY, host, 443).request.decode()
    assert request == f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


@pytest.mark.parametrize(
    ("username", "password", "credentials"),
    [("ada", "lovelace", "YWRhOmxvdmVsYWNl"), ("ada", None, "YWRhOg=="), ("ü", ":", "w7w6Og==")],
)
def test_credentials_are_those_of_basic_authentication(
    username: str, password: str | None, credentials: str
) -> None:
    proxy = ProxyURI("http", "proxy.example", 3128, username, password)
    request = ConnectProtocol(proxy, "h", 1, user_agent="me/1").request.decode()
    assert request.splitlines()[2:] == [
        "User-Agent: me/1",
        f"Proxy-Authorization: Basic {credentials}",
        "",
    ]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("early", [b"", b"\x16\x03\x01", b"\r\n\r\n", b"HTTP/1.1 101 "])
def test_what_follows_a_grant_comes_out_of_the_tunnel(early: bytes, split: Split) -> None:
    for head in (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 299 OK\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n",
    ):
        assert receive(ConnectProtocol(PROXY, "h", 1), head + early, split) == early


@pytest.mark.parametrize("split", SPLITS)
def test_a_refusal_has_the_response_with_its_body(split: Split) -> None:
    protocol = ConnectProtocol(PROXY, "example.org", 443)
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nbody"
    with pytest.raises(ProxyError) as caught:
        receive(protocol, answer, split)
    assert str(caught.value) == (
        "the proxy http://proxy.example:3128 refused to connect to example.org:443: HTTP 503 Busy"
    )
    response = caught.value.response
    assert response is not None
    assert (response.headers["Retry-After"], response.body) == ("5", b"body")


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 102 Wait\r\n\r\n"])
def test_an_end_before_the_answer_is_an_error(data: bytes) -> None:
    protocol = ConnectProtocol(PROXY, "h", 1)
    assert not data or protocol.receive_data(data) is None
    with pytest.raises(ProxyError, match="ended before") as caught:
        protocol.receive_data(b"")
    assert isinstance(caught.value.__cause__, InvalidMessage)


def test_an_end_within_the_body_of_a_refusal_leaves_what_came() -> None:
    protocol = ConnectProtocol(PROXY, "h", 1)
    assert protocol.receive_data(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nbecause") is None
    with pytest.raises(ProxyError) as caught:
        protocol.receive_data(b"")
    assert caught.value.response is not None
    assert caught.value.response.body == b"because"
