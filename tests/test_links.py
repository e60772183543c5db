"""What the documentation leads to is there.

That holds for its links, which ``nox -s docs`` checks on the pages that it has built; here the check is
tested. And for the tests that its tables name.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"

CHECK = runpy.run_path(str(DOCS / "check_links.py"))

check_html: Callable[[Path], list[str]] = CHECK["check_html"]
check_markdown: Callable[..., list[str]] = CHECK["check_markdown"]

PAGE = '<h1 id="top">A page</h1><a name="old">here</a><a href="{}">link</a><img src="_static/a.svg?v=1">'


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A page beside another one, in a directory, and a picture."""
    for name in ("_static/a.svg", "how to/other.html"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text('<p id="there">text</p>')
    return tmp_path


@pytest.mark.parametrize(
    "link",
    ["", "#", "#top", "#old", "how%20to/other.html", "how%20to/other.html#there", "_static/a.svg#any"],
)  # fmt: skip
def test_a_link_that_leads_somewhere_is_not_mentioned(built: Path, link: str) -> None:
    built.joinpath("index.html").write_text(PAGE.format(link))
    assert check_html(built) == []


@pytest.mark.parametrize(
    "link", ["https://example.org/nothing#x", "mailto:ada@example.org", "//example.org/x"]
)
def test_what_leads_elsewhere_is_not_looked_at(built: Path, link: str) -> None:
    built.joinpath("index.html").write_text(PAGE.format(link))
    assert check_html(built) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("nothing.html", "no such file"),
        ("other.html#there", "no such file"),
        ("/index.html", "no such file"),
        ("../outside.html", "no such file"),
        ("#nothing", "nothing there is called 'nothing'"),
        ("how%20to/other.html#top", "nothing there is called 'top'"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(built: Path, link: str, why: str) -> None:
    built.joinpath("index.html").write_text(PAGE.format(link))
    assert check_html(built) == [f"index.html: {link}: {why}"]


def test_a_picture_that_is_not_there_is_told(built: Path) -> None:
    built.joinpath("_static", "a.svg").unlink()
    built.joinpath("index.html").write_text(PAGE.format("#"))
    assert check_html(built) == ["index.html: _static/a.svg?v=1: no such file"]


def test_links_of_markdown_are_told_but_those_in_code(tmp_path: Path) -> None:
    tmp_path.joinpath("OTHER.md").write_text("# What it's for\n")
    tmp_path.joinpath("README.md").write_text(
        "[a](OTHER.md#what-its-for) [b](OTHER.md#who) [c](docs/x.rst) `[d](code)`\n"
        "```\n[e](code)\n```\n[f](https://example.org/)\n"
    )
    assert check_markdown(tmp_path) == [
        "README.md: OTHER.md#who: nothing there is called 'who'",
        "README.md: docs/x.rst: no such file",
    ]


def test_the_repositorys_own_links_lead_somewhere() -> None:
    assert check_markdown() == []


@pytest.mark.parametrize(
    ("page", "named", "where"),
    [
        ("security.rst", r"``(test_\w+)``", "security/{}.py"),
        ("explanation/threat-model.rst", r"``(\w+/test_\w+\.py)``", "{}"),
    ],
)
def test_what_is_said_to_be_tested_is_by_tests_that_exist(
    page: str, named: str, where: str
) -> None:
    names = set(re.findall(named, DOCS.joinpath(page).read_text()))
    assert len(names) > 10
    assert [name for name in sorted(names) if not TESTS.joinpath(where.format(name)).exists()] == []
