"""Chromium without a screen, driven over its DevTools protocol, which is a WebSocket: by a client of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio

from anyio_ws import WebSocket, open_websocket

from .programs import PATIENCE, need, running


class Page:
    """A page of the browser."""

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self._last = 0

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command, and wait for its result."""
        self._last += 1
        await self._ws.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while (answer := json.loads(await self._ws.receive())).get("id") != self._last:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str) -> Any:
        """What *script*, the body of an async function, returns."""
        answer = await self.command(
            "Runtime.evaluate",
            expression=f"(async () => {{ {script} }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def visit(self, url: str) -> None:
        """Load the page at *url*."""
        await self.command("Page.enable")
        answer = await self.command("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        while json.loads(await self._ws.receive()).get("method") != "Page.loadEventFired":
            pass


class Browser:
    """A browser that runs; it takes commands at *url*, those to itself at *path*."""

    def __init__(self, url: str, path: str) -> None:
        self._url = url
        self._path = path

    @asynccontextmanager
    async def page(self, url: str = "about:blank") -> AsyncIterator[Page]:
        """Open a page at *url*, for the length of a block."""
        with anyio.fail_after(PATIENCE):
            async with open_websocket(self._url + self._path) as ws:
                browser = Page(ws)
                target = (await browser.command("Target.createTarget", url="about:blank"))[
                    "targetId"
                ]
                where = f"{self._url}/devtools/page/{target}"
                async with open_websocket(where, max_size=2**24) as theirs:
                    page = Page(theirs)
                    if url != "about:blank":
                        await page.visit(url)
                    yield page
                await browser.command("Target.closeTarget", targetId=target)


@contextmanager
def browser(where: Path) -> Iterator[Browser]:
    """Run Chromium for the length of a block, with what it writes in *where*."""
    command = [
        need("chromium"),
        "--headless",
        "--no-sandbox",  # root may not have one
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--no-proxy-server",
        "--ignore-certificate-errors",
        "--remote-debugging-port=0",
        f"--user-data-dir={where / 'profile'}",
    ]
    told = where / "profile" / "DevToolsActivePort"
    # Its bus, settings and cache would be those of the user.
    environment = {"HOME": str(where), "XDG_CONFIG_HOME": str(where), "XDG_CACHE_HOME": str(where)}
    with running(
        command,
        where / "log",
        lambda: told.exists() and told.read_text().count("\n") == 1,
        environment=environment,
    ):
        port, path = told.read_text().split("\n")
        yield Browser(f"ws://127.0.0.1:{port}", path)
