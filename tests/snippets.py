"""The fenced blocks of a page of docs: what a reader would copy is what a test runs."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
ADDRESS = "127.0.0.1:8780"
PORT = "8780"


def snippets(page: str, language: str, port: int) -> list[str]:
    """All of a language, with the port of a server that runs."""
    text = (DOCS / page).read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found, f"no {language} in {page}"
    return [one.replace(PORT, str(port)) for one in found]
