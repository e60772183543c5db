"""What does an echo cost over TLS?

The load is Python here, so that no OpenSSL for C programs is needed: sockets of `ssl`, which wait for each
other in one loop. It may be what limits messages/s, and the server's CPU time for a message is what counts.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from pathlib import Path

import servers
import wire
from harness import Bench, Candidate, Question
from processes import BenchmarkError, Process
from results import CPU, RATE, Load, Sample
from subject import HOST, Options

PATIENCE = 10
"""Seconds without a byte until we give up."""


def make_certificate(directory: Path) -> str:
    """Write a certificate for 127.0.0.1, with its key; return where."""
    import trustme

    path = directory / "certificate.pem"
    trustme.CA().issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


class Connection:
    """One of the load's, with its messages on their way."""

    def __init__(self, port: int, load: Load) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False  # nobody is asked who they are
        context.verify_mode = ssl.CERT_NONE
        raw = socket.create_connection((HOST, port), PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=HOST)
        self.socket.sendall(wire.request())
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += self.socket.recv(1) or b"\r\n\r\n"
        if not response.startswith(b"HTTP/1.1 101"):
            raise BenchmarkError(f"opening handshake: {response!r}")
        self.message = wire.frame(wire.payload(load.size), masked=True)
        self.reply_size = len(wire.frame(wire.payload(load.size), masked=False))
        self.partial = 0  # bytes of the next reply that have come
        self.unsent = memoryview(self.message * load.depth)
        self.buffer = bytearray(2**18)
        self.socket.setblocking(False)

    def send(self) -> None:
        """Send until nothing is due, or no more is taken."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass

    def receive(self) -> int:
        """Take what has come, let as many messages be due again; return how many."""
        count = 0
        try:
            while size := self.socket.recv_into(self.buffer):
                if self.partial == 0 and self.buffer[0] != wire.BINARY:
                    raise BenchmarkError(f"a reply starts with {self.buffer[0]}")
                came, self.partial = divmod(self.partial + size, self.reply_size)
                count += came
            raise BenchmarkError("the server ended a connection")
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        return count


def exchange(process: Process, load: Load, port: int, seconds: float) -> Sample:
    """Keep `load.depth` messages on their way on each connection, for *seconds* after a warm-up."""
    connections = [Connection(port, load) for _ in range(load.connections)]
    by_number = {one.socket.fileno(): one for one in connections}
    epoll = select.epoll()
    for number in by_number:
        epoll.register(number, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    messages, flying = 0, load.connections * load.depth
    now = time.perf_counter()
    began, ends, cpu_before = now, now + seconds / 3 + seconds, 0.0
    measuring = False
    sample: Sample | None = None
    while flying:
        ready = epoll.poll(PATIENCE)
        if not ready:
            raise BenchmarkError(f"silence for {PATIENCE} s")
        now = time.perf_counter()
        if not measuring and now - began > seconds / 3:
            measuring, messages, began, cpu_before = True, 0, now, process.cpu()
        if sample is None and now > ends and measuring and messages:
            cpu = process.cpu() - cpu_before
            sample = {CPU.key: cpu / messages * 1e6, RATE.key: messages / (now - began)}
        for number, _ in ready:
            connection = by_number[number]
            came = connection.receive()
            messages += came
            if sample is not None:
                flying -= came
            elif came:
                rest = bytes(connection.unsent)
                connection.unsent = memoryview(rest + connection.message * came)
            connection.send()
    for connection in connections:
        connection.socket.close()
    epoll.close()
    if complaint := process.complaint():
        raise BenchmarkError(complaint)
    assert sample is not None
    return sample


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    certificate = bench.keep("", "certificate", lambda stack: make_certificate(bench.directory))
    process, port = bench.server(candidate, Options(certificate=certificate))
    try:
        return exchange(process, load, port, bench.seconds)
    except OSError as exc:
        raise BenchmarkError(f"{exc}\n{process.complaint()}".rstrip()) from None


QUESTION = Question(
    name="tls",
    title="What does an echo cost over TLS?",
    metrics=(CPU, RATE),
    loads=(
        Load("TLS ping-pong", connections=16, depth=1, size=64),
        Load("TLS 64KiB", connections=4, depth=1, size=2**16),
    ),
    subjects=[one._replace(needs=(*one.needs, "trustme")) for one in servers.WEBSOCKET],
    module="servers",
    measure=measure,
)
