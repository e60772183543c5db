"""A client against servers that do what no server should."""

import anyio

from anyio_ws import ConnectionClosedError, InvalidHandshake, open_websocket
from anyio_ws.sansio import Opcode
from anyio_ws.testing import RawFrame, ScriptedPeer, scripted_server


async def client(url: str) -> str:
    """What is to be tested."""
    try:
        async with open_websocket(url, open_timeout=1) as ws:
            return str(await ws.receive())
    except (ConnectionClosedError, InvalidHandshake, TimeoutError) as exc:
        return type(exc).__name__


async def no_websocket(peer: ScriptedPeer) -> None:
    await peer.receive_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def says_nothing(peer: ScriptedPeer) -> None:
    await peer.stay_silent()


async def breaks_off(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.send(RawFrame(Opcode.TEXT, b"half a mess", fin=False))
    await peer.aclose()


async def by_the_byte(peer: ScriptedPeer) -> None:
    peer.cut = 1
    await peer.accept()
    await peer.send(RawFrame(Opcode.TEXT, b"slowly"), RawFrame(Opcode.CLOSE))
    await peer.receive()


async def main() -> None:
    for script in (no_websocket, says_nothing, breaks_off, by_the_byte):
        async with scripted_server(script) as url:
            print(f"{script.__name__}:", await client(url))


if __name__ == "__main__":
    anyio.run(main)
