"""WebSockets for structured concurrency: client and server, on trio and asyncio, through AnyIO."""

from __future__ import annotations

from .client import open_websocket
from .exceptions import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidOrigin,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProtocolError,
    ProtocolViolation,
    ProxyError,
    WebSocketError,
)
from .mux import Mux, mux
from .options import (
    ClientConfig,
    ClientOptions,
    HandlerErrorHook,
    OnHandlerError,
    ServerConfig,
    ServerOptions,
)
from .sansio import Close, CloseCode, Headers, Request, Response, State
from .server import WebSocketServer, accept_websocket, open_server, serve_websocket
from .websocket import Fragments, MessageReader, WebSocket

__all__ = [
    "ClientConfig",
    "ClientOptions",
    "Close",
    "CloseCode",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "Fragments",
    "HandlerErrorHook",
    "Headers",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidMessage",
    "InvalidOrigin",
    "InvalidStatus",
    "InvalidURI",
    "MessageReader",
    "Mux",
    "NegotiationError",
    "OnHandlerError",
    "ProtocolError",
    "ProtocolViolation",
    "ProxyError",
    "Request",
    "Response",
    "ServerConfig",
    "ServerOptions",
    "State",
    "WebSocket",
    "WebSocketError",
    "WebSocketServer",
    "accept_websocket",
    "mux",
    "open_server",
    "open_websocket",
    "serve_websocket",
]
