"""The page: static files, served with a policy that lets nothing else run or load."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from query.errors import NotFound

FOLDER = Path(__file__).parent / "pages"
FILES = {path.name: path for path in FOLDER.iterdir() if path.suffix in (".css", ".js")}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> FileResponse:
    """The page itself."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


@router.get("/pages/{name}")
def file(name: str) -> FileResponse:
    """A style or a script of the page. Raises NotFound."""
    if name not in FILES:
        raise NotFound(f"cannot find page file: {name}")
    return FileResponse(FILES[name], headers=HEADERS)
