"""What curl is told by a server, in every version of HTTP that it can speak."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trustme

from anyio_ws import Request, Response, WebSocket, WebSocketServer, open_server

from .programs import PATIENCE, lack, need


async def greet(ws: WebSocket) -> None:
    await ws.send("hello from the server")


async def health(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(200, "fine\n") if request.path == "/health" else None


async def page(request: Request) -> Response:
    return Response.text(200, f"{request.method} {request.path}\n")


async def curl(*arguments: str, status: int = 0) -> str:
    """What curl prints, carriage returns removed."""
    command = [need("curl"), "-sS", "--noproxy", "*", "--max-time", str(PATIENCE), *arguments]
    ended = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, timeout=2 * PATIENCE)
    )
    assert ended.returncode == status, ended.stderr.decode()
    return ended.stdout.decode("latin-1").replace("\r", "")


def http(server: WebSocketServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def split(told: str) -> tuple[str, dict[str, str], str]:
    head, _, body = told.partition("\n\n")
    status, *lines = head.split("\n")
    return status, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("version", ["-0", "--http1.1", "--http2"])
async def test_a_health_check_is_answered_in_every_version_of_http(version: str) -> None:
    async with open_server(greet, "127.0.0.1", 0, process_request=health) as server:
        status, headers, body = split(await curl("-i", version, http(server, "/health")))
    assert (status, body) == ("HTTP/1.1 200 OK", "fine\n")
    assert headers["Content-Length"] == "5"
    assert headers["Connection"] == "close"


async def test_a_head_is_answered_without_a_body() -> None:
    async with open_server(greet, "127.0.0.1", 0, process_request=health) as server:
        status, headers, body = split(await curl("-I", http(server, "/health")))
    assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "5", "")


async def test_several_urls_of_one_command_are_each_answered() -> None:
    async with open_server(greet, "127.0.0.1", 0, process_request=health) as server:
        url = http(server, "/health")
        assert await curl(url, url, url) == "fine\n" * 3


async def test_a_probe_that_wants_success_fails_without_one() -> None:
    async with open_server(greet, "127.0.0.1", 0, process_request=health) as server:
        await curl("-f", http(server, "/health"))
        await curl("-f", http(server, "/nothing"), status=22)


async def test_who_asks_for_no_websocket_is_told_what_there_is() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        status, headers, body = split(await curl("-i", http(server)))
        assert status == "HTTP/1.1 426 Upgrade Required"
        assert headers["Upgrade"] == "websocket"
        assert body.startswith("Failed to open a WebSocket connection")
        assert (await curl("-i", "-0", http(server))).startswith("HTTP/1.1 505 ")


async def test_pages_are_answered_and_uploads_refused() -> None:
    async with open_server(greet, "127.0.0.1", 0, handle_http=page) as server:
        assert await curl(http(server, "/a?b=c")) == "GET /a?b=c\n"
        assert await curl("-X", "OPTIONS", http(server)) == "OPTIONS /\n"
        assert (await curl("-i", "-d", "x", http(server))).startswith("HTTP/1.1 413 ")


async def test_an_upload_that_waits_to_be_asked_for_is_refused_before_it_is_sent(
    tmp_path: Path,
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(4 * 2**20))
    async with open_server(greet, "127.0.0.1", 0, handle_http=page) as server:
        told = await curl("-i", "-T", str(upload), "-H", "Expect: 100-continue", http(server))
    assert told.startswith("HTTP/1.1 413 ")


async def test_pages_are_answered_over_tls_and_unix_sockets(
    tmp_path: Path, ca: trustme.CA, server_ssl_context: ssl.SSLContext
) -> None:
    authority = tmp_path / "authority.pem"
    ca.cert_pem.write_to_path(str(authority))
    async with open_server(
        greet, "127.0.0.1", 0, handle_http=page, ssl=server_ssl_context
    ) as server:
        url = f"https://localhost:{server.port}/tls"
        assert await curl("--cacert", str(authority), url) == "GET /tls\n"
    path = str(tmp_path / "socket")
    async with open_server(greet, unix_path=path, handle_http=page):
        assert await curl("--unix-socket", path, "http://localhost/unix") == "GET /unix\n"


UPGRADE = [
    *("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"),
    *("-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
]


async def test_a_handshake_made_by_hand_shows_its_answer() -> None:
    async with open_server(greet, "127.0.0.1", 0, close_timeout=0) as server:
        status, headers, rest = split(await curl("-i", "--http1.1", *UPGRADE, http(server)))
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert rest.startswith("\x81\x15hello from the server")


async def test_a_foreign_origin_is_refused() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        told = await curl("-i", *UPGRADE, "-H", "Origin: https://example.com", http(server))
    assert told.startswith("HTTP/1.1 403 ")


async def test_its_own_websockets_receive_messages() -> None:
    protocols = re.search(r"^Protocols: (.*)$", await curl("--version"), re.M)
    assert protocols is not None
    if "ws" not in protocols[1].split():
        lack("curl has no ws://")
    async with open_server(greet, "127.0.0.1", 0, close_timeout=1) as server:
        assert "hello from the server" in await curl("-N", server.url)
