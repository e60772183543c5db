"""The demo's web page in Chromium: it draws, comes back after its server, and leaves in order."""

from __future__ import annotations

import json
import signal
import sys
import time
from functools import partial
from pathlib import Path

import anyio

from anyio_ws import WebSocket, open_websocket
from anyio_ws.cli.web import FEED, Page

from .browser import Browser
from .browser import Page as Tab
from .programs import PATIENCE, is_listened_on, reserved_port, running

# Lines and what is below them have colors; axes and their labels are gray.
UNTIL = """
    const until = async (condition) => {
        while (!condition()) await new Promise((tell) => setTimeout(tell, 20));
    };
    const isColored = (canvas) => {
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let colored = 0;
        for (let at = 0; at < pixels.length; at += 4) {
            const [red, green, blue, alpha] = pixels.subarray(at, at + 4);
            if (alpha > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) colored++;
        }
        return colored > 50;
    };
    const text = (id) => document.getElementById(id).textContent;
    const state = () => document.body.dataset.state;
"""

WATCH = """
    window.told = [];
    const state = document.getElementById("state");
    new MutationObserver(() => told.push(state.textContent)).observe(state, { childList: true });
"""


async def is_drawn(tab: Tab) -> dict[str, str]:
    """Wait until everything is drawn; what the numbers say."""
    numbers: dict[str, str] = await tab.run(f"""{UNTIL}
        await until(() => state() === "live");
        await until(() => parseFloat(text("rate")) > 0 && parseFloat(text("latency")) >= 0);
        await until(() => [...document.querySelectorAll("canvas")].every(isColored));
        return Object.fromEntries(["viewers", "missed"].map((id) => [id, text(id)]));
    """)
    return numbers


def test_the_page_draws_and_comes_back_after_its_server(chromium: Browser, tmp_path: Path) -> None:
    with reserved_port() as port:
        demo = partial(
            running,
            [
                *(sys.executable, "-m", "anyio_ws", "demo", "--plain"),
                *("--interval", "0.1", "--web", "--port", str(port)),
            ],
            tmp_path / "log",
            lambda: is_listened_on(port),
        )

        async def view() -> None:
            with demo() as process:
                async with chromium.page(f"http://127.0.0.1:{port}/") as tab:
                    numbers = await is_drawn(tab)
                    assert numbers["viewers"] == "1"
                    assert numbers["missed"] == "none missed"
                    await tab.run(WATCH)
                    process.send_signal(signal.SIGTERM)
                    assert await anyio.to_thread.run_sync(process.wait, PATIENCE) == 0
                    await tab.run(f"{UNTIL} await until(() => state() !== 'live');")
                    with demo():
                        again = time.time() * 1000
                        await tab.run(
                            f"{UNTIL} await until(() => charts.network.newest > {again});"
                        )
                        await is_drawn(tab)
                    told = await tab.run("return told;")
                    assert "server went away, reconnecting" in told
                    assert "live" in told

        anyio.run(view)


async def test_the_page_says_goodbye_when_it_is_left(chromium: Browser) -> None:
    page = Page(feeds=1, interval=0.2, backend="this")
    async with page.serve("127.0.0.1", 0) as server:
        await page.publish("cpu", json.dumps({"time": time.time(), "percent": [50]}))
        async with open_websocket(server.url + FEED) as other:
            async with chromium.page(server.url.replace("ws", "http", 1)) as tab:
                await tab.run(f"{UNTIL} await until(() => text('received') === '1');")
                await told(other, 2)
                await tab.visit("about:blank")
                await told(other, 1)
    assert server.statistics().closed == {1000: 2}  # the page, and the other one


async def told(ws: WebSocket, viewers: int) -> None:
    while json.loads(await ws.receive()) != {"viewers": viewers}:
        pass
