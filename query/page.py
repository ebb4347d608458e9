"""The page: static files, read once and served with a policy that lets nothing else run or load.

The browser asks each time whether a file has changed; with the same tag it is told so in a few bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from query.errors import NotFound

FOLDER = Path(__file__).parent / "pages"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
IMPORTED = re.compile(rb'^import .* from "\./([\w.]+)";', re.MULTILINE)
MODULES = "<!-- modules -->"  # in index.html: all are asked for at once, and not as one is found in another


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    data: bytes
    packed: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, data: bytes, suffix: str) -> File:
        tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
        return cls(data, gzip.compress(data, mtime=0), f"{TYPES[suffix]}; charset=utf-8", tag)

    def answer(self, request: Request) -> Response:
        """The file, or that it is what the browser has."""
        headers = {**HEADERS, "ETag": self.tag}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=self.media_type
            )
        return Response(self.data, headers=headers, media_type=self.media_type)


def _read() -> dict[str, File]:
    """Every file of the page by its name."""
    texts = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
    links = (f'<link rel="modulepreload" href="/pages/{name}">' for name in sorted(_needed("main.js", texts)))
    texts["index.html"] = texts["index.html"].replace(MODULES.encode(), "\n".join(links).encode())
    return {name: File.of(text, Path(name).suffix) for name, text in texts.items()}


def _needed(name: str, texts: dict[str, bytes]) -> set[str]:
    """A module and all that it cannot begin without."""
    found, left = set[str](), [name]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += (imported.decode() for imported in IMPORTED.findall(texts[one]))
    return found


FILES = _read()
INDEX = FILES.pop("index.html")
router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(request: Request) -> Response:
    """The page itself."""
    return INDEX.answer(request)


@router.get("/pages/{name}")
async def file(request: Request, name: str) -> Response:
    """A style, a script or a picture of the page. Raises NotFound."""
    if name not in FILES:
        raise NotFound(f"cannot find page file: {name}")
    return FILES[name].answer(request)
