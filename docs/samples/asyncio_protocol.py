"""A server as an ``asyncio.Protocol``: the callbacks of the event loop feed the protocol."""

import asyncio

from anyio_ws import open_websocket
from anyio_ws.sansio import (
    Fragment,
    Frame,
    Request,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
)


class Echo(asyncio.Protocol):
    """Sends back what comes, in one message for each; a fragment is one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
        self.protocol.collect_messages()  # text as str; frames only of what isn't data

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        self.react()

    def eof_received(self) -> bool:
        self.protocol.receive_eof()
        self.react()
        return True  # data_to_send says when to end

    def react(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                response = self.protocol.accept(event)  # or reject(403, "not for you")
                response.headers["Server"] = "my own I/O"
                self.protocol.send_response(response)
        for message in self.protocol.messages_received():
            match message:
                case Frame():  # a ping or Close frame, which was answered; a pong
                    pass
                case str(text) | Fragment(str(text)):
                    self.protocol.send_text(text.encode())
                case bytes(data) | Fragment(bytes(data)):
                    self.protocol.send_binary(data)
        for data in self.protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()  # over TLS nothing can be half-closed
        if self.protocol.close_expected():
            # The other side should end the stream; for as long as you will wait.
            asyncio.get_running_loop().call_later(10, self.transport.abort)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with open_websocket(f"ws://127.0.0.1:{port}") as ws:
            print(ws.response.headers["Server"])
            await ws.send("hello")
            print(await ws.receive())
            await ws.aclose(1000, "that is all")
            print(ws.close_code, ws.close_reason)


if __name__ == "__main__":
    asyncio.run(main())
