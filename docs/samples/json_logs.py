"""Log records as JSON, a line each, with the connection that they are about."""

import io
import json
import logging

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"level": record.levelname, "logger": record.name, "message": record.getMessage()}
        for name in ("connection_id", "remote_address"):
            if hasattr(record, name):
                entry[name] = getattr(record, name)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


async def fail(ws: WebSocket) -> None:
    raise RuntimeError("a bug")


async def main() -> None:
    output = io.StringIO()  # or sys.stderr, or a file
    handler = logging.StreamHandler(output)
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("sample")
    logger.propagate = False
    logger.addHandler(handler)

    async with open_server(fail, "127.0.0.1", 0, logger=logger) as server:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
            client = ws.local_address

    entry = json.loads(output.getvalue())
    print(entry["level"], entry["message"].partition(",")[0])
    print(entry["traceback"].splitlines()[-1])
    print(entry["remote_address"] == list(client), len(entry["connection_id"]))


if __name__ == "__main__":
    anyio.run(main)
