"""The other end of a connection for the promise scenarios: a plain blocking socket, in a thread.

It belongs to no event loop and to no library, so that it is the same for each that is measured. Frames and
handshakes come from `anyio_ws.testing`, which owes nothing to the library's own protocol.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from anyio_ws.testing import RawFrame, handshake_request, handshake_response

HOST = "127.0.0.1"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONT = 0x0

T = TypeVar("T")


class Gone(Exception):
    """The connection ended, or nothing came for too long; says which."""


class RawPeer:
    """A connection spoken by hand. It answers nothing by itself."""

    def __init__(self, sock: socket.socket, *, is_server: bool, patience: float = 10) -> None:
        self.sock = sock
        self.is_server = is_server
        self.patience = patience
        """Seconds that `read_frame` waits for bytes."""
        self.received = bytearray()
        self.sent = 0
        """Bytes of a flood that the kernel took."""
        self._other: int | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(cls, port: int) -> RawPeer:
        """Connect to a server, and open the connection."""
        peer = cls(socket.create_connection((HOST, port), timeout=10), is_server=False)
        peer.sock.sendall(handshake_request(host=f"{HOST}:{port}"))
        response = peer.read_head()
        if not response.startswith(b"HTTP/1.1 101 "):
            raise Gone(f"answered {response[:40]!r}")
        return peer

    def accept(self) -> None:
        """Answer a client's opening handshake; no extension is agreed on."""
        self.sock.sendall(handshake_response(self.read_head()))

    def read_head(self) -> bytes:
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            self._read()
        head = bytes(self.received[: end + 4])
        del self.received[: end + 4]
        return head

    def read_frame(self) -> RawFrame:
        """Read a frame.

        :raises Gone: the connection ended, or nothing came
        :raises AssertionError: it is masked and must not be, or is not and must be
        """
        while (parsed := RawFrame.parse(self.received, masked=self.is_server)) is None:
            self._read()
        frame, size = parsed
        del self.received[:size]
        return frame

    def send(self, *frames: RawFrame) -> None:
        masked = not self.is_server
        self.sock.sendall(b"".join(frame.serialize(masked=masked) for frame in frames))

    def read_until_closed(self, *, answer: bool) -> int | None:
        """Drop what comes until a Close frame, and *answer* that. Return its code; None: there was none."""
        try:
            while (frame := self.read_frame()).opcode != CLOSE:
                if frame.opcode == PING and answer:
                    self.send(RawFrame(PONG, frame.payload))
        except (Gone, OSError):
            return None
        if answer:
            try:
                self.send(RawFrame(CLOSE, frame.payload))
                self.sock.close()
            except OSError:
                pass
        return int.from_bytes(frame.payload[:2], "big") or 1005

    def reset(self) -> None:
        """End the connection with an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def flood(self, block: bytes, *, most: int, seconds: float, patience: float) -> str:
        """Send *block* again and again. Return how that ended.

        By a Close frame or the end of the connection; when nothing was `taken` for *patience* seconds; or
        after *most* bytes or *seconds*: it is ``still reading``.
        """
        self.sock.setblocking(False)
        view = memoryview(block)
        last, changed = 0, time.monotonic()
        end = changed + seconds
        while last < most and time.monotonic() < end:
            more = [self.sock] if self.sent < most else []
            readable, writable, _ = select.select([self.sock], more, [], 0.02)
            try:
                if readable and (closed := self._look_for_close()):
                    return closed
                if writable:
                    self.sent += self.sock.send(view[self.sent % len(block) :])
                    continue
            except OSError:
                return "dropped the connection"
            if (taken := self.taken()) != last:
                last, changed = taken, time.monotonic()
            elif time.monotonic() - changed > patience:
                return "stopped reading"
        return "still reading"

    def taken(self) -> int:
        """Of the bytes that were flooded, those that aren't in the kernel's buffers any more, on either side.

        The other end is in this process.
        """
        waiting = 0
        if self._other is None:
            self._other = _connected_to(self.sock.getsockname())
        try:
            waiting += _ioctl(self.sock.fileno(), termios.TIOCOUTQ)
            if self._other is not None:
                waiting += _ioctl(self._other, termios.FIONREAD)
        except OSError:
            pass  # one of them is closed
        return max(0, self.sent - waiting)

    def _look_for_close(self) -> str:
        data = self.sock.recv(2**16)
        if not data:
            return "dropped the connection"
        self.received += data
        while (parsed := RawFrame.parse(self.received, masked=self.is_server)) is not None:
            frame, size = parsed
            del self.received[:size]
            if frame.opcode == CLOSE:
                return f"closed with {int.from_bytes(frame.payload[:2], 'big')}"
        return ""

    def _read(self) -> None:
        self.sock.settimeout(self.patience)
        try:
            data = self.sock.recv(2**16)
        except TimeoutError:
            raise Gone(f"nothing came for {self.patience:g} s") from None
        except OSError as exc:
            raise Gone(f"the connection broke: {exc.strerror}") from None
        if not data:
            raise Gone("the connection ended")
        self.received += data


def _connected_to(address: object) -> int | None:
    """The descriptor, in this process, of the socket at the other end of a connection."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as other:
                    if other.family == socket.AF_INET and other.getpeername() == address:
                        return int(name)
        except OSError:
            pass
    return None


def _ioctl(fd: int, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, request, b"\0\0\0\0"))[0])


class RawServer:
    """Listens on a port, accepts one connection in a thread and runs a script over it."""

    def __init__(self, script: Callable[[RawPeer], T]) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"ws://{HOST}:{self.port}/"
        self.result: concurrent.futures.Future[T] = in_thread(self._run, script)

    def _run(self, script: Callable[[RawPeer], T]) -> T:
        self._listener.settimeout(20)
        sock, _ = self._listener.accept()
        self._listener.close()
        peer = RawPeer(sock, is_server=True)
        peer.accept()
        return script(peer)


def in_thread(function: Callable[..., T], *args: object) -> concurrent.futures.Future[T]:
    """Run *function* in a thread that doesn't keep the process alive."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, daemon=True).start()
    return future


def small_buffers(size: int) -> None:
    """Give every socket that this process makes from now on buffers of about *size* bytes."""
    make = socket.socket.__init__

    def init(self: socket.socket, *args: object, **options: object) -> None:
        make(self, *args, **options)  # type: ignore[arg-type]
        if self.family == socket.AF_INET and self.type == socket.SOCK_STREAM:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                self.setsockopt(socket.SOL_SOCKET, option, size // 2)  # Linux doubles it

    socket.socket.__init__ = init  # type: ignore[method-assign]
