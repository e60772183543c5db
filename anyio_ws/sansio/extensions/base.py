"""What an extension is made of (RFC 6455, section 9).

A factory negotiates and keeps nothing; what it returns is the `Extension` of one connection, which may
keep state from frame to frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..frames import Frame
from ..headers import ExtensionParameter

__all__ = ["ClientExtensionFactory", "Extension", "ExtensionParameter", "ServerExtensionFactory"]


class Extension(ABC):
    """An extension as negotiated for one connection: it transforms data frames both ways."""

    name: str
    """As registered with IANA."""
    rsv: int = 0
    """The reserved bits that it gives a meaning to (0x40 for RSV1, 0x20 for RSV2, 0x10 for RSV3)."""

    @abstractmethod
    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Undo what the peer's extension did to *frame*, clearing the bits that it owns.

        :param max_size: bytes that the result may have; None for no limit
        :raises ProtocolViolation: the frame can't be decoded, or the result would be larger (1009)
        """

    @abstractmethod
    def encode(self, frame: Frame) -> Frame:
        """Transform a frame that is about to be sent."""


class ClientExtensionFactory(ABC):
    """The client's side of negotiating an extension."""

    name: str

    @abstractmethod
    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Return the parameters to offer, as ``(name, value or None)``."""

    @abstractmethod
    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        """Turn the server's answer into an extension.

        :param accepted_extensions: those that precede it in the answer
        :raises NegotiationError: the answer isn't acceptable
        """


class ServerExtensionFactory(ABC):
    """The server's side of negotiating an extension."""

    name: str

    @abstractmethod
    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[Sequence[ExtensionParameter], Extension]:
        """Turn the client's offer into the parameters to answer with, and an extension.

        :raises NegotiationError: the offer is declined; the next one is tried
        """
