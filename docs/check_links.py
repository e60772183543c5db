"""Check that every link leads somewhere: python docs/check_links.py docs/_build/html

Looked at are the pages of the documentation that was built there, and the Markdown files of the repository.
What they link to within the same place must be there: files, and what ``#`` names in them. Nothing is
fetched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent

LINKING = {"data", "href", "poster", "src"}


class _Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LINKING and value is not None:
                self.links.append(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.names.add(value or "")


def _read_markdown(text: str) -> _Page:
    """As much of Markdown as is written here: links, and headings as GitHub names them."""
    page = _Page("")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    page.links = re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", text))
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        page.names.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return page


@cache
def _read(path: Path) -> _Page | None:
    """The page that a file is; None if it has no names that are known here."""
    if path.suffix == ".html":
        return _Page(path.read_text())
    return _read_markdown(path.read_text()) if path.suffix == ".md" else None


def dead_links(page: Path, root: Path) -> Iterator[str]:
    """Say which links of *page* lead to nothing in *root*. Those that lead elsewhere aren't looked at."""
    page, root = page.resolve(), root.resolve()
    found = _read(page)
    assert found is not None
    for link in dict.fromkeys(found.links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        name = unquote(parts.fragment)
        where = f"{page.relative_to(root)}: {link}"
        if not target.is_relative_to(root) or not target.exists():
            yield f"{where}: no such file"
        elif name and (other := _read(target)) is not None and name not in other.names:
            yield f"{where}: nothing there is called {name!r}"


def check_html(root: Path) -> list[str]:
    """What is wrong with the links of the pages in *root*."""
    return [said for page in sorted(root.rglob("*.html")) for said in dead_links(page, root)]


def check_markdown(root: Path = ROOT) -> list[str]:
    """What is wrong with the links of the Markdown files of the repository."""
    pages = [*root.glob("*.md"), *root.glob(".github/**/*.md"), *root.glob("benchmarks/*.md")]
    return [said for page in sorted(pages) for said in dead_links(page, root)]


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1], "index.html").exists():
        print("python docs/check_links.py HTML, where the documentation was built", file=sys.stderr)
        return 2
    wrong = [*check_html(Path(sys.argv[1])), *check_markdown()]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
