"""A game lobby: who comes waits for somebody to play with."""

import anyio

from anyio_ws import WebSocket, aggregate, open_server, open_websocket


async def play(players: set[WebSocket]) -> None:
    """The higher card wins."""
    cards: dict[WebSocket, int] = {}
    for player in players:
        await player.send("your card?")
    for player in players:
        cards[player] = int(await player.receive())
    best = max(cards.values())
    for player, card in cards.items():
        await player.send("you win" if card == best else f"the other had {best}")


async def join(url: str, name: str, card: int, results: list[str]) -> None:
    async with open_websocket(url) as ws:
        async for message in ws:
            if message == "your card?":
                await ws.send(str(card))
            else:
                results.append(f"{name} hears {message!r}")


async def main() -> None:
    lobby = aggregate(2, play, key=lambda ws: ws.request.path, waiting_timeout=60)
    results: list[str] = []
    async with open_server(lobby, "127.0.0.1", 0) as server, anyio.create_task_group() as tg:
        tg.start_soon(join, f"{server.url}/whist", "ada", 7, results)
        tg.start_soon(join, f"{server.url}/poker", "eve", 3, results)
        tg.start_soon(join, f"{server.url}/whist", "bob", 9, results)
        tg.start_soon(join, f"{server.url}/poker", "joe", 2, results)
    print(*sorted(results), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
