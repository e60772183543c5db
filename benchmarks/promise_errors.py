"""P1 and P5: what becomes of exceptions, those of a block's body and those of a server's handlers."""

from __future__ import annotations

import logging
import operator
import socket
import time

import anyio
import anyio.to_thread
from promise_parts import Finding, brief, part
from promise_peers import Conn, Driver, Message, Options
from promise_wire import HOST, TEXT, Gone, RawFrame, RawPeer, RawServer


async def body_raises(driver: Driver, raised: Exception) -> Finding:
    what = type(raised).__name__
    server = RawServer(lambda peer: peer.read_until_closed(answer=True))
    try:
        async with driver.connect(server.url):
            raise raised
    except BaseException as exc:
        if exc is raised:
            return Finding(True, f"the {what} came out as the same object")
        if _is_copy(exc, raised):
            return Finding(False, f"the {what} came out as a copy, not wrapped")
        if isinstance(exc, BaseExceptionGroup):
            return Finding(False, f"the {what} came out wrapped in an ExceptionGroup")
        return Finding(False, f"the {what} came out as {brief(exc)}")
    return Finding(False, f"the {what} was swallowed")


def _is_copy(one: BaseException, other: BaseException) -> bool:
    """Whether both are groups of the same exceptions."""
    return (
        isinstance(one, BaseExceptionGroup)
        and isinstance(other, BaseExceptionGroup)
        and len(one.exceptions) == len(other.exceptions)
        and all(map(operator.is_, one.exceptions, other.exceptions))
    )


@part("P1", "a ValueError of the body")
async def plain_exception(driver: Driver) -> Finding:
    cause, context = KeyError("cause"), LookupError("context")
    raised = ValueError("plain")
    raised.__cause__, raised.__context__ = cause, context
    finding = await body_raises(driver, raised)
    if finding.kept and (raised.__cause__ is not cause or raised.__context__ is not context):
        return Finding(False, "its __cause__ or __context__ was changed")
    return finding


@part("P1", "an ExceptionGroup of the body")
async def exception_group(driver: Driver) -> Finding:
    return await body_raises(driver, ExceptionGroup("mine", [ValueError("one"), TypeError("two")]))


@part("P1", "leaving, whatever the peer did")
async def leaving_quietly(driver: Driver) -> Finding:
    def drop(peer: RawPeer) -> None:
        peer.sock.close()

    def break_protocol(peer: RawPeer) -> None:
        peer.send(RawFrame(0x3))
        peer.read_until_closed(answer=False)
        peer.sock.close()

    def ignore_close(peer: RawPeer) -> None:
        peer.read_until_closed(answer=False)
        time.sleep(10)

    for how, script in (
        ("dropped", drop),
        ("reset", RawPeer.reset),
        ("sent an invalid frame", break_protocol),
        ("didn't answer the Close frame", ignore_close),
    ):
        server = RawServer(script)
        inside = True
        try:
            async with driver.connect(server.url, Options(close_timeout=0.5)):
                await anyio.sleep(0.3)  # the body has nothing to do with the connection
                inside = False
        except BaseException as exc:
            where = "the body was interrupted by" if inside else "leaving raised"
            return Finding(False, f"peer {how}: {where} {brief(exc)}")
    return Finding(True, "quiet after a drop, a reset, an invalid frame, no answer to Close")


@part("P1", "a cancelled body")
async def cancelled_body(driver: Driver) -> Finding:
    for how, answer in (("that answers", True), ("that is silent", False)):
        server = RawServer(lambda peer, answer=answer: peer.read_until_closed(answer=answer))

        async def body(url: str = server.url) -> None:
            async with driver.connect(url):
                await anyio.sleep(30)

        try:
            finished = await driver.backend.within(0.3, body)
        except BaseException as exc:
            return Finding(False, f"peer {how}: the cancellation came out as {brief(exc)}")
        if finished:
            return Finding(False, f"peer {how}: the cancellation was swallowed")
    return Finding(True, "the cancellation, and nothing else, came out")


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def tracebacks(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.exc_info]


def capture_log() -> Records:
    """Keep what a program that configured logging at INFO would write."""
    records = Records()
    logging.basicConfig(level=logging.INFO, handlers=[records])
    return records


async def echo(conn: Conn) -> None:
    async def answer(message: Message) -> None:
        if message == "boom":
            raise ValueError("boom")
        await conn.send(message)

    await conn.each(answer)


def talk(peer: RawPeer, word: bytes) -> None:
    """Send a word, and have it back.

    :raises Gone: it didn't come
    """
    peer.send(RawFrame(TEXT, word))
    while (frame := peer.read_frame()).opcode != TEXT:
        pass
    if frame.payload != word:
        raise Gone(f"got {frame!r} instead of {word!r}")


GOOD: list[RawPeer] = []


def meet_boom(port: int) -> tuple[int | None, str]:
    """Make a handler raise, beside another connection; the Close code, and what went wrong with others."""
    bystander = RawPeer.connect(port)
    talk(bystander, b"before")
    victim = RawPeer.connect(port)
    victim.patience = 3
    victim.send(RawFrame(TEXT, b"boom"))
    code = victim.read_until_closed(answer=True)
    return code, others_served(port, bystander)


def others_served(port: int, bystander: RawPeer) -> str:
    """What is wrong for good clients. They stay connected: what happens then is no part of it."""
    GOOD.append(bystander)
    try:
        talk(bystander, b"after")
    except (Gone, OSError) as exc:
        return f"another connection was lost: {exc}"
    try:
        GOOD.append(RawPeer.connect(port))
        talk(GOOD[-1], b"new")
    except (Gone, OSError) as exc:
        return f"new connections are not served: {exc}"
    return ""


@part("P5", "a handler raises", needs_server=True)
async def handler_raises(driver: Driver) -> Finding:
    log = capture_log()
    code: int | None = None
    trouble = ""
    try:
        async with driver.serve(echo) as port:
            code, trouble = await anyio.to_thread.run_sync(meet_boom, port, abandon_on_cancel=True)
    except BaseException as exc:
        return Finding(False, f"the server ended with {brief(exc)}")
    logged = sum(
        str(record.exc_info[1]) == "boom" for record in log.tracebacks() if record.exc_info
    )
    if trouble:
        return Finding(False, trouble)
    if code != 1011 or logged != 1:
        return Finding(False, f"closed with {code}, logged with its traceback {logged} times")
    return Finding(True, "closed with 1011, logged once with its traceback; others were served on")


ROUNDS = 4
REQUESTS = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET /\r\n\r\n")
FRAMES = (RawFrame(0x3, b"reserved"), RawFrame(TEXT, b"unmasked", masked=False))
BAD = ROUNDS * (len(REQUESTS) + len(FRAMES) + 2)


def send_garbage(port: int) -> str:
    """Be bad clients of six kinds, beside a good one."""
    bystander = RawPeer.connect(port)
    talk(bystander, b"before")
    for _ in range(ROUNDS):
        for garbage in REQUESTS:
            with socket.create_connection((HOST, port), timeout=3) as sock:
                sock.sendall(garbage)
                try:
                    while sock.recv(2**16):
                        pass
                except OSError:
                    pass
        for frame in FRAMES:
            bad = RawPeer.connect(port)
            bad.patience = 3
            bad.send(frame)
            bad.read_until_closed(answer=True)
            bad.sock.close()
        RawPeer(socket.create_connection((HOST, port)), is_server=False).reset()
        RawPeer.connect(port).reset()
    return others_served(port, bystander)


@part("P5", "garbage from clients", needs_server=True)
async def garbage(driver: Driver) -> Finding:
    log = capture_log()
    try:
        async with driver.serve(echo) as port:
            trouble = await anyio.to_thread.run_sync(send_garbage, port, abandon_on_cancel=True)
            await anyio.sleep(0.3)
            tracebacks = log.tracebacks()
    except BaseException as exc:
        return Finding(False, f"the server ended with {brief(exc)}")
    if trouble:
        return Finding(False, trouble)
    if tracebacks:
        kinds = {brief(one.exc_info[1]) for one in tracebacks if one.exc_info and one.exc_info[1]}
        return Finding(
            False,
            f"others were served on, but {BAD} bad clients put {len(tracebacks)} tracebacks "
            f"into the log ({', '.join(sorted(kinds))})",
        )
    return Finding(True, f"{BAD} bad clients: others were served on, no traceback in the log")
