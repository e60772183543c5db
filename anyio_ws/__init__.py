"""WebSockets for structured concurrency: client and server, on trio and asyncio, through AnyIO."""

from __future__ import annotations

from .accepting import accept_websocket
from .adapters import byte_stream, trio_stream
from .aggregate import Aggregate, GroupHandler, aggregate
from .auth import CheckCredentials, basic_auth
from .broadcast import BroadcastResult, broadcast, broadcast_and_wait
from .channel import Broker, Channel, ChannelStatistics, Deliver, MemoryBroker
from .client import open_websocket
from .exceptions import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidHeader,
    InvalidJSON,
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
from .json_codecs import JSONCodec
from .lifecycle import WebSocketEvents, websocket_events
from .lowlevel import LowLevel
from .merged import Mux, MuxStatistics
from .mux import mux
from .notice import Notice
from .observer import ServerObserver
from .options import (
    ClientConfig,
    ClientOptions,
    HandleHTTP,
    HandlerErrorHook,
    OnHandlerError,
    ProcessRequest,
    ProcessResponse,
    ResponseHeaders,
    ServerConfig,
    ServerOptions,
)
from .reconnect import ReconnectAttempt, reconnecting_websocket
from .retrying import DecideRetry, ReconnectFailure, ReconnectPolicy
from .routing import Router
from .sansio import Close, CloseCode, Headers, Request, Response, State
from .server import Endpoint, WebSocketServer, endpoint, open_server, serve_websocket
from .statistics import ConnectionStatistics, ServerStatistics
from .websocket import (
    Delivery,
    Fragments,
    MessageReader,
    Overflow,
    PreparedMessage,
    WebSocket,
)

__version__ = "0.1.0"

__all__ = [
    "Aggregate",
    "BroadcastResult",
    "Broker",
    "Channel",
    "ChannelStatistics",
    "CheckCredentials",
    "ClientConfig",
    "ClientOptions",
    "Close",
    "CloseCode",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionStatistics",
    "DecideRetry",
    "Deliver",
    "Delivery",
    "Endpoint",
    "Fragments",
    "GroupHandler",
    "HandleHTTP",
    "HandlerErrorHook",
    "Headers",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidJSON",
    "InvalidMessage",
    "InvalidOrigin",
    "InvalidStatus",
    "InvalidURI",
    "JSONCodec",
    "LowLevel",
    "MemoryBroker",
    "MessageReader",
    "Mux",
    "MuxStatistics",
    "NegotiationError",
    "Notice",
    "OnHandlerError",
    "Overflow",
    "PreparedMessage",
    "ProcessRequest",
    "ProcessResponse",
    "ProtocolError",
    "ProtocolViolation",
    "ProxyError",
    "ReconnectAttempt",
    "ReconnectFailure",
    "ReconnectPolicy",
    "Request",
    "Response",
    "ResponseHeaders",
    "Router",
    "ServerConfig",
    "ServerObserver",
    "ServerOptions",
    "ServerStatistics",
    "State",
    "WebSocket",
    "WebSocketError",
    "WebSocketEvents",
    "WebSocketServer",
    "accept_websocket",
    "aggregate",
    "basic_auth",
    "broadcast",
    "broadcast_and_wait",
    "byte_stream",
    "endpoint",
    "mux",
    "open_server",
    "open_websocket",
    "reconnecting_websocket",
    "serve_websocket",
    "trio_stream",
    "websocket_events",
]
