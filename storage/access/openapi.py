"""What `/openapi.json` says of each path beside what FastAPI finds out by itself: its answers, its errors, who may ask.

Each process describes its own paths; the front door puts the descriptions together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from storage.access.paths import Need, needs

Json = dict[str, Any]
Content = Mapping[str, Mapping[str, Any]]
"""Schemas by media type."""
METHODS = ("get", "put", "post", "patch", "delete", "head", "options")
WITH_BODY = ("post", "put", "patch")
ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {
                "code": {"type": "string", "description": "Stable, for programs"},
                "message": {"type": "string", "description": "One line"},
                "hint": {"type": "string", "description": "What to do about it"},
                "position": {
                    "type": ["object", "null"],
                    "description": "In the query, from 1",
                    "properties": {"line": {"type": "integer"}, "column": {"type": "integer"}},
                },
            },
        }
    },
}
SAID = {
    400: "What was asked cannot be", 401: "Nobody knows who asks", 403: "Who asks may not", 404: "It is not there",
    405: "Not by this method", 408: "The body came too slowly", 413: "It is too large", 415: "Not in this form",
    422: "It was read, and cannot be taken", 429: "Too much at once: come back after Retry-After",
    503: "It cannot answer now: come back after Retry-After",
}  # fmt: skip
RETRIED = (429, 503)
OURS: Content = {"application/json": {"$ref": "#/components/schemas/Error"}}
KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "neve_…; see docs/security.md"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


@dataclass(frozen=True)
class Said:
    """What one path answers, and takes. `errors`: how it says no, where that is another protocol's way; `more`: its
    statuses beside those that every path has."""

    answers: Mapping[int, Content] = field(default_factory=dict)
    errors: Content | None = None
    more: tuple[int, ...] = ()
    takes: Content | None = None


TEXT: Json = {"type": "string"}
BYTES: Json = {"type": "string", "format": "binary"}
COUNT: Json = {"type": "integer", "minimum": 0}
OBJECT: Json = {"type": "object"}


def record(*optional: str, **fields: Any) -> Json:
    """An object of these fields; all are there but the optional ones."""
    needed = [name for name in fields if name not in optional]
    return {"type": "object", "required": needed, "properties": fields}


def many(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def as_json(schema: Json) -> Content:
    return {"application/json": schema}


def answers(schema: Json) -> Said:
    """A path that answers JSON like this, and 200."""
    return Said({200: as_json(schema)})


def describe(
    app: FastAPI,
    process: str,
    said: Mapping[str, Said],
    schemas: Mapping[str, Json] | None = None,
    *,
    asks: bool = False,
) -> None:
    """Let `/openapi.json` of an app say all this. `said` is by `METHOD path`, or by path alone; `asks`: for keys."""

    def openapi() -> Json:
        if not app.openapi_schema:
            plain = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = _described(plain, process, said, schemas or {}, asks)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def merged(documents: Iterable[Json]) -> Json:
    """One description of several; of a path that two have the first holds."""
    whole: Json = {}
    for one in documents:
        if not whole:
            whole = {**one, "paths": {}, "components": {}}
        whole["paths"] = {**one.get("paths", {}), **whole["paths"]}
        for kind, found in one.get("components", {}).items():
            whole["components"][kind] = {**found, **whole["components"].get(kind, {})}
    return whole


def _described(
    document: Json, process: str, said: Mapping[str, Said], schemas: Mapping[str, Json], asks: bool
) -> Json:
    need = needs(process)
    for path, methods in document["paths"].items():
        for method in (one for one in METHODS if one in methods):
            here = said.get(f"{method.upper()} {path}") or said.get(path) or Said()
            _describe(methods[method], here, path, method, need(path))
            if asks and need(path) is not Need.NOBODY:
                methods[method]["security"] = [{name: []} for name in KEYS]
    known = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, which nothing here answers
        known.pop(name, None)
    known |= {"Error": ERROR, **schemas}
    if asks:
        document["components"]["securitySchemes"] = KEYS
    return document


def _describe(operation: Json, said: Said, path: str, method: str, need: Need) -> None:
    answers: Json = operation["responses"]
    answers.pop("422", None)
    for status, content in said.answers.items():
        before = answers.get(str(status), {"description": "Successful Response"})
        answers[str(status)] = {**before, "content": _content(content)}
    if said.answers and 200 not in said.answers:
        answers.pop("200", None)
    for status in sorted({*_errors(path, method, need), *said.more}):
        answers.setdefault(str(status), _error(status, said.errors))
    if said.takes is not None:
        operation["requestBody"] = {"required": True, "content": _content(said.takes)}


def _errors(path: str, method: str, need: Need) -> tuple[int, ...]:
    """Of every path like this one."""
    if need is Need.NOBODY and not path.startswith("/auth/"):
        return (405, 503)
    body = (408, 413) if method in WITH_BODY else ()
    return (400, 401, 403, 404, 405, *body, 429, 503)


def _error(status: int, content: Content | None) -> Json:
    # Whoever is refused before the path is looked at is told so in our own form.
    found: Json = {"description": SAID[status], "content": _content({**OURS, **(content or {})})}
    if content and "application/json" in content:
        both = [OURS["application/json"], content["application/json"]]
        found["content"]["application/json"] = {"schema": {"anyOf": both}}
    if status in RETRIED:
        found["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return found


def _content(content: Content) -> Json:
    return {kind: {"schema": dict(schema)} for kind, schema in content.items()}
