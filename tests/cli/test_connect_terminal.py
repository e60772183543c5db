"""``anyio-ws connect`` in a terminal: typed at, and looked at."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from anyio_ws import ConnectionClosed, WebSocket, basic_auth

from .helpers import PYTHON, echo, served, without

pytest.importorskip("termios")

from .terminal import CTRL_C, CTRL_D, CTRL_R, LEFT, UP, Terminal, in_terminal

CONNECT = [*PYTHON, "-m", "anyio_ws", "connect"]
WITHOUT_PROMPT = [*without("prompt_toolkit"), "connect"]


@pytest.fixture
def url() -> Iterator[str]:
    """Where every message is sent back."""
    with served(echo) as url:
        yield url


class Typing(Protocol):
    def __call__(
        self, *arguments: str, command: list[str] = ...
    ) -> AbstractContextManager[Terminal]: ...


@pytest.fixture
def connected(tmp_path: Path) -> Typing:
    """Runs the command in a terminal, for a user whose home is empty."""

    def connected(
        *arguments: str, command: list[str] = CONNECT, **environment: str
    ) -> AbstractContextManager[Terminal]:
        environment = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), **environment}
        return in_terminal(*command, *arguments, environment=environment)

    return connected


def is_clean(terminal: Terminal) -> bool:
    """Whether nothing was seen that nobody wants to see."""
    return not any(word in terminal.output for word in ("Traceback", "Warning", "WARNING", "Error"))


def test_lines_are_edited_and_answers_stand_above_the_prompt(url: str, connected: Typing) -> None:
    with connected(url) as terminal:
        terminal.wait_for(f"* connected to {url}; Ctrl-D closes", ">")
        terminal.type("hello wrld" + 3 * LEFT + "o\r")
        terminal.wait_for("> hello world", "< hello world", ">")
        terminal.type("half of")
        terminal.wait_for("> half of")
        terminal.type(" it\r")
        terminal.wait_for("< half of it", ">")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert terminal.screen.lines == [
        f"* connected to {url}; Ctrl-D closes",
        "> hello world",
        "< hello world",
        "> half of it",
        "< half of it",
        ">",
        "* closed: 1000 (normal closure)",
        *terminal.screen.lines[7:],
    ]
    assert not any(terminal.screen.lines[7:])
    assert terminal.screen.stray == []
    assert is_clean(terminal)


def test_without_input_it_says_what_closes_then(url: str, connected: Typing) -> None:
    with connected("--no-input", url) as terminal:
        terminal.wait_for(f"* connected to {url}; Ctrl-C closes")
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
    assert is_clean(terminal)


def test_what_arrives_while_a_line_is_typed_leaves_it_alone(connected: Typing) -> None:
    async def interrupt(ws: WebSocket) -> None:
        await ws.receive()
        for number in range(50):
            await ws.send(f"news {number}")
        assert await ws.receive() == "abcdef"
        await ws.send("thanks")

    with served(interrupt) as url:
        with connected(url) as terminal:
            terminal.wait_for(">")
            terminal.type("go\rabc")
            terminal.wait_for("< news 49", "> abc")
            terminal.type("def\r")
            terminal.wait_for("> abcdef", "< thanks")
            assert terminal.ended() == 0
    lines = terminal.screen.lines
    assert lines.index("< news 49") - lines.index("< news 0") == 49
    assert is_clean(terminal)


def test_all_that_is_typed_at_once_is_understood(connected: Typing) -> None:
    received = []

    async def listen(ws: WebSocket) -> None:
        async for message in ws:
            received.append(message)
            try:
                await ws.send(message)  # while the rest is typed
            except ConnectionClosed:
                pass  # it was typed quickly

    # Ctrl-D among it: a terminal that isn't the prompt's for a moment would take that for itself.
    lines = [f"line {number}" for number in range(30)]
    with served(listen) as url:
        with connected(url) as terminal:
            terminal.wait_for(">")
            terminal.type("\r".join([*lines, CTRL_D]))
            assert terminal.ended() == 0
    assert received == lines
    seen = [line for line in terminal.screen.lines if line.startswith("> line")]
    assert seen == [f"> {line}" for line in lines]
    assert is_clean(terminal)


def test_lines_are_remembered_from_one_time_to_the_next(
    url: str, connected: Typing, tmp_path: Path
) -> None:
    with connected(url) as terminal:
        terminal.wait_for(">")
        for line in "first", " a secret", "second":
            terminal.type(f"{line}\r")
            terminal.wait_for(f"< {line}", ">")
        terminal.type(2 * UP)
        terminal.wait_for(">  a secret")  # for as long as it runs
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
    file = tmp_path / "anyio-ws" / "history"
    assert "secret" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with connected(url) as terminal:
        terminal.wait_for(">")
        terminal.type(CTRL_R + "fir")
        terminal.wait_for_text("first")
        terminal.type("\r\r")
        terminal.wait_for("< first", ">")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0


def test_nothing_is_remembered_if_that_is_not_wanted(
    url: str, connected: Typing, tmp_path: Path
) -> None:
    with connected(url, "--no-history") as terminal:
        terminal.wait_for(">")
        terminal.type("hello\r")
        terminal.wait_for("< hello", ">")
        terminal.type(UP)
        terminal.wait_for("> hello", "> hello")
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
    assert list(tmp_path.iterdir()) == []


def test_a_history_that_cannot_be_kept_is_no_obstacle(
    url: str, connected: Typing, tmp_path: Path
) -> None:
    (tmp_path / "anyio-ws").write_text("a file where a directory should be")
    with connected(url) as terminal:
        terminal.wait_for_text("the history isn't kept: ")
        terminal.type("hello\r")
        terminal.wait_for("< hello", ">")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert "Traceback" not in terminal.output


def test_a_long_history_loses_its_older_half(url: str, connected: Typing, tmp_path: Path) -> None:
    file = tmp_path / "anyio-ws" / "history"
    file.parent.mkdir()
    file.write_text("".join(f"\n# then\n+{number} {'x' * 1000}\n" for number in range(1100)))
    with connected(url) as terminal:
        terminal.wait_for(">")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    kept = file.read_text()
    assert 2**18 < len(kept) <= 2**19
    assert kept.startswith("\n# then\n+")
    assert kept.count("+1099 x") == 1


def test_ctrl_c_closes_in_order_and_the_terminal_is_as_before(connected: Typing) -> None:
    closes = []

    async def wait(ws: WebSocket) -> None:
        await ws.wait_closed()
        closes.append(ws.close_code)

    with served(wait) as url:
        with connected(url) as terminal:
            terminal.wait_for(">")
            terminal.type("not sent" + CTRL_C)
            assert terminal.ended() == 130
    assert closes == [1000]
    assert "* closed: 1000 (normal closure)" in terminal.screen.lines
    bracketed_paste, cursor = (
        terminal.output.rfind("\x1b[?2004l"),
        terminal.output.rfind("\x1b[?25h"),
    )
    assert bracketed_paste > terminal.output.rfind("\x1b[?2004h")
    assert cursor > terminal.output.rfind("\x1b[?25l")
    assert is_clean(terminal)


@pytest.mark.parametrize("command", [CONNECT, WITHOUT_PROMPT], ids=["prompt", "plain"])
def test_sigterm_ends_it_at_the_prompt_too(url: str, connected: Typing, command: list[str]) -> None:
    with connected(url, command=command) as terminal:
        terminal.wait_for_text("* connected to")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ended() == 143
    assert is_clean(terminal)


def test_a_server_that_closes_ends_it_whatever_was_typed(connected: Typing) -> None:
    async def leave(ws: WebSocket) -> None:
        await ws.receive()
        await ws.aclose(4000, "enough")

    with served(leave) as url:
        with connected(url) as terminal:
            terminal.wait_for(">")
            terminal.type("go\runfinished")
            assert terminal.ended() == 1
    lines = [line for line in terminal.screen.lines if line]
    assert lines[-1] == (
        "anyio-ws connect: the server closed the connection: 4000 (private use) enough"
    )
    assert is_clean(terminal)


def test_a_server_that_closes_at_once_ends_it(connected: Typing) -> None:
    async def leave(ws: WebSocket) -> None:
        pass

    with served(leave) as url:
        with connected(url) as terminal:
            assert terminal.ended() == 0
    assert "* closed: 1000 (normal closure)" in terminal.screen.lines
    assert is_clean(terminal)


def test_control_characters_and_bytes_are_shown_not_obeyed(connected: Typing) -> None:
    async def attack(ws: WebSocket) -> None:
        await ws.send("\x1b]0;title\x07\x1b[2Jgone\r\n< fake")
        await ws.send(b"\x1b[2J\x00")
        await ws.aclose(1000, "\x1b[2J")

    with served(attack) as url:
        with connected(url, "-v") as terminal:
            assert terminal.ended() == 0
    lines = terminal.screen.lines
    at = lines.index(r"< \x1b]0;title\x07\x1b[2Jgone\r")
    assert lines[at + 1] == "  < fake"
    assert "< binary, 5 bytes" in lines
    assert "  00000000  1b 5b 32 4a 00                                   |.[2J.|" in lines
    assert r"* closed: 1000 (normal closure) '\x1b[2J'" in lines
    assert "\x1b[2J" not in terminal.output
    assert "\x1b]0;title" not in terminal.output


def test_remarks_and_the_log_stand_above_the_prompt(url: str, connected: Typing) -> None:
    with connected(url, "-vv", "--hex") as terminal:
        terminal.wait_for_text("* connected to")
        terminal.wait_for(">")
        terminal.type("what\r")
        terminal.wait_for("> what", "not sent: these aren't hexadecimal digits", ">")
        terminal.type("00\r")
        terminal.wait_for("> 00", "< 00", ">")
        terminal.wait_for_text("anyio_ws.client: > BINARY")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert is_clean(terminal)


def test_a_pasted_text_of_several_lines_is_one_message(url: str, connected: Typing) -> None:
    with connected(url) as terminal:
        terminal.wait_for(">")
        terminal.type("\x1b[200~{\n  1\n}\x1b[201~\r")
        terminal.wait_for("> {", "    1", "  }", "< {")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0


# -- without prompt_toolkit, or with a terminal on one side only


def test_one_sentence_tells_how_to_install_line_editing(url: str, connected: Typing) -> None:
    with connected(url, command=WITHOUT_PROMPT) as terminal:
        terminal.wait_for_text("* connected to")
        terminal.type("hello\r")
        terminal.wait_for("hello", "< hello")  # the first is the terminal's own echo
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert terminal.screen.lines[0] == (
        "for line editing and history, install prompt_toolkit: pip install 'anyio-ws[cli]'"
    )
    assert is_clean(terminal)


def test_ctrl_c_is_a_signal_where_there_is_no_prompt(url: str, connected: Typing) -> None:
    with connected(url, command=WITHOUT_PROMPT) as terminal:
        terminal.wait_for_text("* connected to")
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
    with connected(url, "--no-input") as terminal:
        terminal.wait_for_text("* connected to")
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
    assert "> " not in terminal.screen.lines


def test_raw_output_has_no_decoration_and_no_prompt(url: str, connected: Typing) -> None:
    with connected(url, "--raw") as terminal:
        terminal.type("he\x16\x1bllo\r")  # Ctrl-V: the next is no key
        terminal.wait_for_text(r"he\x1bllo")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert [line for line in terminal.screen.lines if line] == ["he^[llo", r"he\x1bllo"]


def test_a_terminal_may_be_typed_at_while_the_output_is_a_pipe(url: str) -> None:
    here, there = os.pipe()
    try:
        with in_terminal(*CONNECT, url, stdout=there) as terminal:
            os.close(there)
            there = -1
            terminal.type("hello\r")
            assert os.read(here, 100) == b"hello\n"
            terminal.type(CTRL_D)
            assert terminal.ended() == 0
        assert os.read(here, 100) == b""
    finally:
        os.close(here)
        if there >= 0:
            os.close(there)
    assert [line for line in terminal.screen.lines if line] == ["hello"]


def test_a_terminal_that_can_do_nothing_gets_no_prompt(url: str) -> None:
    with in_terminal(*CONNECT, url, environment={"TERM": "dumb"}) as terminal:
        terminal.wait_for_text("* connected to")
        terminal.type("hello\r")
        terminal.wait_for("hello", "< hello")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    assert "\x1b" not in terminal.output


# -- passwords


def test_a_password_is_asked_for_and_never_shown(connected: Typing, tmp_path: Path) -> None:
    with served(echo, process_request=basic_auth("here", ("ada", "love"))) as url:
        with connected(url, "--user", "ada", "-vv") as terminal:
            terminal.wait_for("password of ada:")
            terminal.type("love\r")
            terminal.wait_for(">")
            terminal.type(CTRL_D)
            assert terminal.ended() == 0
        with connected(url, "--user", "ada") as terminal:
            terminal.wait_for("password of ada:")
            terminal.type(CTRL_C)
            assert terminal.ended() == 130
    assert "love" not in terminal.output
    assert "Traceback" not in terminal.output
    assert "love" not in (tmp_path / "anyio-ws" / "history").read_text()
