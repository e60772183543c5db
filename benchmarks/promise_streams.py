"""P2, P3 and P4: what becomes of messages when a call is cancelled, or a consumer is slow."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from promise_parts import MIB, Finding, brief, part
from promise_peers import Conn, Driver, Message, Options
from promise_wire import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Gone,
    RawFrame,
    RawPeer,
    RawServer,
    small_buffers,
)

# -- P2

SENDS = 12
END = b"the end"


def content(number: int) -> bytes:
    return bytes([number + 1]) * MIB


def read_slowly(peer: RawPeer) -> tuple[list[int], str]:
    """Read a message in 80 ms, not faster. Return the numbers of the messages, and what is wrong."""
    numbers: list[int] = []
    message: bytearray | None = None
    peer.patience = 3
    try:
        while True:
            frame = peer.read_frame()
            time.sleep(0.005 * len(frame.payload) / 2**16)
            if frame.opcode in (PING, PONG):
                continue
            if frame.opcode == CLOSE:
                raise Gone("the connection was closed")
            if frame.rsv or frame.opcode not in (TEXT, BINARY, CONT):
                return numbers, f"a frame read as opcode {frame.opcode:#x}"
            if (frame.opcode == CONT) is (message is None):
                return numbers, "a fragment out of place"
            message = (message or bytearray()) + frame.payload
            if not frame.fin:
                continue
            if message == END:
                return numbers, ""
            number = message[0] - 1 if message else -1
            if message != content(number):
                return numbers, f"message {number} holds other bytes than were sent"
            numbers.append(number)
            message = None
    except AssertionError as exc:
        return numbers, str(exc)
    except Gone as exc:
        if peer.received:
            return numbers, f"{exc} {len(peer.received)} bytes into a frame"
        return numbers, f"{exc} after {len(numbers)} messages"


@part("P2", "sends under a time limit to a slow peer")
async def cancelled_send(driver: Driver) -> Finding:
    small_buffers(2**16)
    server = RawServer(read_slowly)
    returned: list[int] = []
    raised = ""
    try:
        async with driver.connect(server.url) as ws:
            conn = driver.wrap(ws)
            for number in range(SENDS):
                if await driver.backend.within(0.05, partial(conn.send, content(number))):
                    returned.append(number)
            if not await driver.backend.within(15, partial(conn.send, END)):
                raised = "the next send never returned"
            await anyio.to_thread.run_sync(server.result.result, 15)
    except Exception as exc:
        raised = f"a later send raised {brief(exc)}"
    received, wrong = await anyio.to_thread.run_sync(server.result.result, 15)
    cancelled = SENDS - len(returned)
    if wrong:  # the peer gave up then, which is why later sends may have raised
        return Finding(False, f"stream corrupt: {wrong}")
    if raised:
        return Finding(False, raised)
    if lost := set(returned) - set(received):
        return Finding(False, f"{len(lost)} sends that had returned were not delivered")
    if extra := set(received) - set(returned):
        return Finding(
            False, f"stream intact, but {len(extra)} of {cancelled} cancelled sends were delivered"
        )
    if not cancelled:
        return Finding(None, "no send took long enough to be cancelled")
    return Finding(
        True, f"{len(returned)} sends returned and arrived, {cancelled} cancelled ones didn't"
    )


# -- P3

MESSAGES, FRAGMENTS = 40, 4


def send_fragments(peer: RawPeer) -> None:
    pause = random.Random(1)
    for number in range(MESSAGES):
        for index in range(FRAGMENTS):
            opcode = TEXT if index == 0 else CONT
            peer.send(RawFrame(opcode, b"%d." % number, fin=index == FRAGMENTS - 1))
            time.sleep(pause.uniform(0, 0.006))
    peer.read_until_closed(answer=True)


Within = Callable[[float, Callable[[], Awaitable[object]]], Awaitable[bool]]


async def cancelled_receive(driver: Driver, within: Within) -> Finding:
    server = RawServer(send_fragments)
    limit = random.Random(2)
    expected = [f"{number}." * FRAGMENTS for number in range(MESSAGES)]
    got: list[Message] = []
    cancelled = quiet = 0

    async def receive(conn: Conn) -> None:
        got.append(await conn.receive())

    try:
        async with driver.connect(server.url) as ws:
            conn = driver.wrap(ws)
            while len(got) < MESSAGES and quiet < 300:
                if await within(limit.uniform(0, 0.006), partial(receive, conn)):
                    quiet = 0
                else:
                    quiet += 1
                    cancelled += 1
    except Exception as exc:
        return Finding(False, f"{len(got)} of {MESSAGES} messages, then {brief(exc)}")
    if got != expected:
        lost = sum(message not in got for message in expected)
        return Finding(False, f"{lost} of {MESSAGES} messages lost, {cancelled} receives cancelled")
    return Finding(True, f"all {MESSAGES} messages, {cancelled} receives cancelled")


@part("P3", "receives cancelled by the loop's own timeout")
async def cancelled_by_loop(driver: Driver) -> Finding:
    return await cancelled_receive(driver, driver.backend.within)


@part("P3", "receives cancelled by AnyIO's")
async def cancelled_by_anyio(driver: Driver) -> Finding:
    async def within(seconds: float, function: Callable[[], Awaitable[object]]) -> bool:
        with anyio.move_on_after(seconds):
            await function()
            return True
        return False

    return await cancelled_receive(driver, within)


# -- P4

BUSY = 1.2
PINGS = 0.3


async def with_heartbeat(driver: Driver, ws: Any, seconds: float, body: Callable[[], Any]) -> None:
    """Run *body*, beside the heartbeat of a library that leaves that to the application."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.heartbeat, ws, seconds)
        await body()
        tasks.cancel_scope.cancel()


@part("P4", "a busy receiver and a healthy peer")
async def busy_receiver(driver: Driver) -> Finding:
    def send_and_answer(peer: RawPeer) -> tuple[int | None, float]:
        begin = time.monotonic()
        peer.send(*(RawFrame(TEXT, b"%d" % number) for number in range(200)))
        code = peer.read_until_closed(answer=True)
        return code, time.monotonic() - begin

    server = RawServer(send_and_answer)
    got: list[Message] = []
    failure = ""
    is_open = False

    async def application(conn: Conn) -> None:
        nonlocal is_open
        await anyio.sleep(BUSY)
        while len(got) < 200:
            got.append(await conn.receive())
        await anyio.sleep(3 * PINGS)
        is_open = conn.is_open()

    try:
        async with driver.connect(server.url, Options(ping=PINGS, queue=4)) as ws:
            body = partial(application, driver.wrap(ws))
            try:
                await with_heartbeat(driver, ws, PINGS, body)
            except BaseExceptionGroup as group:
                failure = brief(group.exceptions[0])
            except Exception as exc:
                failure = brief(exc)
    except BaseException as exc:
        failure = failure or f"{brief(exc)} out of the block"
    code, seconds = await anyio.to_thread.run_sync(server.result.result, 15)
    note = f", {driver.note_on_pings}" if driver.note_on_pings else ""
    if len(got) == 200 and is_open and not failure:
        return Finding(True, f"all 200 delivered, the connection is open{note}")
    ended = f"closed with {code}" if code else "dropped"
    return Finding(
        False,
        f"{len(got)} of 200 delivered, then {failure or 'closed'}; {ended} after {seconds:.1f} s{note}",
    )


TEN = [str(number) for number in range(10)]


async def arrived_before(
    driver: Driver, fail: Callable[[RawPeer], object], options: Options, seconds: float
) -> Finding:
    """Ten messages arrive, then *fail* happens; after *seconds* the application begins to receive."""

    def script(peer: RawPeer) -> None:
        peer.send(*(RawFrame(TEXT, text.encode()) for text in TEN))
        fail(peer)

    server = RawServer(script)
    got: list[Message] = []
    failure = ""

    async def nothing() -> None:
        await anyio.sleep(seconds)

    async def receive(conn: Conn) -> None:
        while True:
            got.append(await conn.receive())

    try:
        async with driver.connect(server.url, options) as ws:
            try:
                if options.ping:
                    await with_heartbeat(driver, ws, PINGS, nothing)
                else:
                    await nothing()
            except BaseExceptionGroup:
                pass  # by the heartbeat; what had arrived should be there all the same
            try:
                await driver.backend.within(3, partial(receive, driver.wrap(ws)))
            except Exception as exc:
                failure = brief(exc)
    except BaseException as exc:
        failure = failure or f"{brief(exc)} out of the block"
    note = f", {driver.note_on_pings}" if options.ping and driver.note_on_pings else ""
    if got == TEN:
        return Finding(True, f"all 10 delivered{f', then {failure}' if failure else ''}{note}")
    return Finding(False, f"{len(got)} of 10 delivered, then {failure or 'nothing'}{note}")


@part("P4", "what arrived before a drop")
async def before_drop(driver: Driver) -> Finding:
    return await arrived_before(driver, lambda peer: peer.sock.close(), Options(), 0.5)


@part("P4", "what arrived before an invalid frame")
async def before_invalid_frame(driver: Driver) -> Finding:
    def fail(peer: RawPeer) -> None:
        peer.send(RawFrame(0x3))
        peer.read_until_closed(answer=False)

    return await arrived_before(driver, fail, Options(), 0.5)


@part("P4", "what arrived before the peer fell silent")
async def before_silence(driver: Driver) -> Finding:
    def fail(peer: RawPeer) -> None:
        peer.patience = 5
        peer.read_until_closed(answer=False)

    return await arrived_before(driver, fail, Options(ping=PINGS), BUSY)
