"""The pages of the documentation hang together."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def links(page: Path) -> list[tuple[str, Path, str]]:
    """What a page says, the file it means, and the heading in it."""
    found = [link for link in LINK.findall(page.read_text()) if not link.startswith("http")]
    parts = [(link, *link.partition("#")[::2]) for link in found]
    return [(link, (page.parent / path).resolve() if path else page, part) for link, path, part in parts]


def headings(page: Path) -> set[str]:
    """As links name them."""
    plain = (re.sub(r"[^\w\- ]", "", found.strip().lower()) for found in HEADING.findall(page.read_text()))
    return {text.replace(" ", "-") for text in plain}


def test_every_link_leads_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES
        for link, file, part in links(page)
        if not file.exists() or (part and file.suffix == ".md" and part not in headings(file))
    ]
    assert not dead, "\n".join(dead)


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    named = {file for _, file, _ in links(index)}
    assert {page for page in (ROOT / "docs").glob("*.md") if page != index} <= named
