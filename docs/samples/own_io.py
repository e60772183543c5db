"""The protocol without I/O: here, the network is two lists."""

import anyio

from anyio_ws.sansio import ClientProtocol, Frame, Protocol, Request, ServerProtocol


def deliver(sender: Protocol, receiver: Protocol) -> None:
    """Move what one side wants sent to the other side; b"" stands for the end of the stream."""
    for data in sender.data_to_send():
        if data:
            receiver.receive_data(data)
        else:
            receiver.receive_eof()


async def main() -> None:
    client = ClientProtocol("ws://localhost/")
    server = ServerProtocol()

    client.send_request(client.connect())
    deliver(client, server)
    [request] = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    deliver(server, client)
    client.events_received()  # the response

    client.send_text(b"hello")
    client.send_close(1000, "that is all")
    deliver(client, server)
    for event in server.events_received():
        assert isinstance(event, Frame)
        print(event.opcode.name, event.data)

    deliver(server, client)  # its Close frame, and the end of its stream
    deliver(client, server)
    print(client.state.name, client.close_code, client.close_reason)


if __name__ == "__main__":
    anyio.run(main)
