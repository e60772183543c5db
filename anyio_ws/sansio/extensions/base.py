"""What an extension is made of (RFC 6455, section 9).

A factory negotiates and keeps nothing; what it returns is the `Extension` of one connection, which may
keep state from frame to frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

from ..frames import Frame, Opcode
from ..headers import ExtensionParameter

__all__ = ["ClientExtensionFactory", "Extension", "ExtensionParameter", "ServerExtensionFactory"]


class Extension(ABC):
    """An extension as negotiated for one connection: it transforms data frames both ways."""

    name: str
    """As registered with IANA."""
    rsv: int = 0
    """The reserved bits that it gives a meaning to (0x40 for RSV1, 0x20 for RSV2, 0x10 for RSV3).

    One that has any leaves a message alone of which no frame has one of them set, and may not hear of it; one
    that has none is asked for every frame.
    """

    in_parts: bool = False
    """Whether a frame that is arriving may be given to `decode_part`."""

    def check_header(self, opcode: Opcode, rsv: int) -> None:  # noqa: B027  # most have nothing to say
        """Judge the header of a data frame, before its payload has arrived.

        Asked again when the header is cut off by the end of a chunk.

        :param rsv: the three bits as they stand (0x70)
        :raises ProtocolViolation: the bits make no sense
        """

    def decode_part(self, opcode: Opcode, rsv: int, data: bytes, *, max_size: int | None) -> None:
        """Take in a part of a frame that is arriving; the rest of it, often nothing, comes to `decode`.

        So that nothing has to be stored undecoded. Only asked of those with `in_parts`, and only for frames
        that no other extension transforms.

        :param rsv: the three bits as they stand (0x70)
        :param max_size: bytes that the whole frame may become; None for no limit
        :raises ProtocolViolation: as `decode`
        """
        raise NotImplementedError

    @abstractmethod
    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Undo what the peer's extension did to *frame*, clearing the bits that it owns.

        :param max_size: bytes that the result may have; None for no limit
        :raises ProtocolViolation: the frame can't be decoded, or the result would be larger (1009)
        """

    @abstractmethod
    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        """Transform a frame that is about to be sent.

        :param compress: whether the message may be compressed; what counts is said of its first frame
        """

    def forget_encoded(self) -> None:  # noqa: B027  # most have no state
        """Learn that what the peer has seen isn't what was encoded: what follows must not build on it.

        A frame that was encoded won't be sent, or one is sent that `encode_alone` made.
        """

    def setting(self, frame: Frame, *, compress: bool) -> Hashable | None:
        """What decides how a whole message is encoded, if others may send the same bytes.

        Those of several connections whose extensions answer the same are sent what `encode_alone` of one of
        them has made. ``()`` if it is sent as it is; None, the default, if every connection has to `encode`
        it.
        """
        return None

    def encode_alone(self, frame: Frame) -> Frame:
        """Transform a whole message without regard to any other; changes no state.

        Where it is sent, `forget_encoded` is called. Only asked of those with a `setting`.
        """
        raise NotImplementedError


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
