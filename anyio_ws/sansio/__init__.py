"""The WebSocket protocol without I/O: bytes in, events out (RFC 6455).

`ServerProtocol` and `ClientProtocol` hold everything that the protocol decides; nothing here waits,
reads a clock or touches a socket.
"""

from __future__ import annotations

from .client import ClientProtocol
from .extensions import (
    ClientExtensionFactory,
    ClientPerMessageDeflateFactory,
    Extension,
    PerMessageDeflate,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
)
from .frames import Close, CloseCode, Frame, Opcode
from .headers import Headers
from .http import Request, Response
from .messages import Fragment
from .protocol import SEND_EOF, Event, Message, Protocol
from .server import ServerProtocol
from .state import Side, State
from .uri import WebSocketURI, parse_uri

__all__ = [
    "SEND_EOF",
    "ClientExtensionFactory",
    "ClientPerMessageDeflateFactory",
    "ClientProtocol",
    "Close",
    "CloseCode",
    "Event",
    "Extension",
    "Fragment",
    "Frame",
    "Headers",
    "Message",
    "Opcode",
    "PerMessageDeflate",
    "Protocol",
    "Request",
    "Response",
    "ServerExtensionFactory",
    "ServerPerMessageDeflateFactory",
    "ServerProtocol",
    "Side",
    "State",
    "WebSocketURI",
    "parse_uri",
]
