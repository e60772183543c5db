"""What is said about the package outside of it agrees with the package."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import anyio_ws

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASING.md"]

FOR_WORKING_ON_IT = {"bench", "conformance", "docs", "fuzz", "lint", "test", "types"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_changelog_begins_with_the_version() -> None:
    numbers = re.match(r"\d+\.\d+\.\d+(?=$|\.dev\d+$)", anyio_ws.__version__)
    assert numbers is not None
    heading = next(
        line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    )
    assert re.fullmatch(
        rf"## {re.escape(numbers[0])} \((unreleased|\d{{4}}-\d\d-\d\d)\)", heading
    ), heading


def test_the_pythons_that_are_claimed_are_those_that_are_tested(project: dict[str, Any]) -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    noxfile = ast.parse((ROOT / "noxfile.py").read_text())
    (tested,) = (
        ast.literal_eval(node.value)
        for node in noxfile.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS"
    )
    assert claimed == tested
    assert project["requires-python"] == f">={tested[0]}"


def test_the_extra_all_is_whatever_a_user_can_want(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    wanted = everything.removeprefix("anyio-ws[").removesuffix("]").split(",")
    assert sorted(wanted) == sorted(set(extras) - FOR_WORKING_ON_IT - {"all"})


def test_every_extra_that_somebody_is_told_to_install_exists(project: dict[str, Any]) -> None:
    pages = [ROOT / name for name in (*PAGES, "CHANGELOG.md")]
    for folder, kind in (("docs", "*.rst"), ("anyio_ws", "*.py")):
        pages += ROOT.joinpath(folder).rglob(kind)
    named = {
        extra
        for page in pages
        for found in re.findall(r"(?:anyio-ws|-e '?\.)\[([a-z,]+)\]", page.read_text())
        for extra in found.split(",")
    }
    assert {"trio", "demo", "test", "all"} <= named
    assert named <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    paths = re.findall(r"(?<![\w./-])((?:\.ci|anyio_ws|benchmarks|docs|tests)/[\w./-]*\w)", text)
    files = re.findall(r"`(\w+\.(?:md|py|toml))`", text)
    places = [ROOT, ROOT / "anyio_ws", ROOT / "anyio_ws" / "sansio"]
    missing = [
        name
        for name in (*links, *paths, *files)
        if not any(place.joinpath(name).exists() for place in places)
    ]
    assert missing == []


def test_type_checkers_see_every_public_function_used() -> None:
    used = {
        node.id
        for path in ROOT.joinpath("tests", "typing").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name)
    }
    functions = {name for name in anyio_ws.__all__ if inspect.isfunction(getattr(anyio_ws, name))}
    assert functions
    assert functions - used == set()
