"""What the commands say about themselves, and the documentation about them."""

from __future__ import annotations

import re

import pytest

from anyio_ws.__main__ import main

from .helpers import ROOT


def normalized(text: str) -> list[str]:
    """The words, a metavariable once an option: versions of Python differ in that, and in line breaks."""
    return re.sub(r"(-\w) (\S+|'[^']+'), (--[\w-]+ \2)", r"\1, \3", text).split()


@pytest.mark.parametrize("command", ["connect", "ping", "serve"])
def test_the_documentation_shows_the_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = (ROOT / "docs" / "howto" / f"{command}-help.txt").read_text()
    assert normalized(capsys.readouterr().out) == normalized(shown)


def test_the_documentation_has_every_exit_code_of_the_help() -> None:
    page = (ROOT / "docs" / "howto" / "command-line.rst").read_text()
    for command in "connect", "ping":
        help_text = (ROOT / "docs" / "howto" / f"{command}-help.txt").read_text()
        table = help_text.partition("exit codes:\n")[2]
        for code in re.findall(r"^  (\d+) ", table, re.M):
            assert re.search(rf"^   \* - {code}\b", page, re.M), code
