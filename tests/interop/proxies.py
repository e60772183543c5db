"""nginx and HAProxy in front of a server of ours, with the configuration files of the documentation."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import trustme

from anyio_ws import ServerConfig, WebSocket, WebSocketServer, open_server, open_websocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.service import Handler

from .programs import configuration, is_listened_on, need, reserved_port, running

PROXIES = ["nginx", "HAProxy"]

MAIN = """
daemon off;
pid {where}/pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {where}/body;
    proxy_temp_path {where}/proxy;
    fastcgi_temp_path {where}/fastcgi;
    uwsgi_temp_path {where}/uwsgi;
    scgi_temp_path {where}/scgi;
    include {where}/feed.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs."""

    name: str
    plain: int
    """The port on which it speaks HTTP."""
    tls: int
    """The port on which it speaks HTTPS."""
    upstream: int
    """The port on which it expects a server of ours."""
    pid: int

    def origin(self, *, secure: bool = False) -> str:
        """How a browser calls a site behind it."""
        return f"https://localhost:{self.tls}" if secure else f"http://localhost:{self.plain}"

    def url(self, *, secure: bool = False) -> str:
        """Where a client connects to."""
        return self.origin(secure=secure).replace("http", "ws", 1)


@contextmanager
def proxy(
    name: str, where: Path, ca: trustme.CA, changes: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """Run the proxy *name* for the length of a block, in the directory *where*.

    :param changes: of its configuration file, besides ports and certificate
    """
    with ExitStack() as stack:
        plain, tls, upstream = (stack.enter_context(reserved_port()) for _ in range(3))
        certificate = where / "certificate.pem"
        ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        if name == "nginx":
            needed = {
                "server 127.0.0.1:8765;": f"server 127.0.0.1:{upstream};",
                "listen 80;": f"listen 127.0.0.1:{plain};",
                "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
                "/etc/ssl/example.org/fullchain.pem": str(certificate),
                "/etc/ssl/example.org/privkey.pem": str(certificate),
            }
            (where / "feed.conf").write_text(
                configuration("nginx.conf", {**needed, **(changes or {})})
            )
            # As root it would work as somebody who can't read this directory.
            user = "user root;" if os.geteuid() == 0 else ""
            main = where / "nginx.conf"
            main.write_text(MAIN.format(where=where, user=user))
            command = [need("nginx"), "-e", "stderr", "-c", str(main)]
        else:
            needed = {
                "127.0.0.1:8765": f"127.0.0.1:{upstream}",
                "maxconn 20000": "maxconn 100",  # not everybody may have as many descriptors
                "bind :80": f"bind 127.0.0.1:{plain}",
                "bind :443": f"bind 127.0.0.1:{tls}",
                "/etc/haproxy/example.org.pem": str(certificate),
            }
            file = where / "haproxy.cfg"
            file.write_text(configuration("haproxy.cfg", {**needed, **(changes or {})}))
            command = [need("haproxy"), "-db", "-f", str(file)]
        process = stack.enter_context(
            running(command, where / "log", lambda: is_listened_on(plain) and is_listened_on(tls))
        )
        yield Proxy(name, plain, tls, upstream, process.pid)


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@dataclass(frozen=True)
class Way:
    """A way from a client through a proxy to a server; over TLS as far as the proxy, with a *context*."""

    proxy: Proxy
    context: ssl.SSLContext | None

    @property
    def origin(self) -> str:
        """How a browser calls the site."""
        return self.proxy.origin(secure=self.context is not None)

    def serve(
        self,
        handler: Handler = echo,
        config: ServerConfig | None = None,
        **options: Unpack[ServerOptions],
    ) -> AbstractAsyncContextManager[WebSocketServer]:
        return open_server(handler, "127.0.0.1", self.proxy.upstream, config=config, **options)

    def connect(
        self, path: str = "/", **options: Unpack[ClientOptions]
    ) -> AbstractAsyncContextManager[WebSocket]:
        url = self.proxy.url(secure=self.context is not None) + path
        options.setdefault("ssl", self.context)
        return open_websocket(url, **options)


AT_ONCE = {
    # What it has given up is told at once, and without checks a server that was away is asked at once.
    "nginx": {},
    "HAProxy": {"timeout connect 5s": "timeout connect 50ms", " check inter 2s": ""},
}
"""Changes for tests in which servers come and go."""
