"""What Elasticsearch's clients ask before, and beside, they send documents.

Templates, policies and pipelines are said to be there, and are taken and forgotten: every field of a document is a tag
without one. Whatever would read or delete documents is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VERSION = "8.19.0"
"""Of the API that is spoken, not of Neve."""
OPENSEARCH_VERSION = "2.19.0"
CLUSTER = "neve"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: JSON, or text."""

    status: int
    body: Json | list[Json] | str


KEPT: dict[str, Callable[[str], Json]] = {
    "_index_template": lambda name: {
        "index_templates": [{"name": name, "index_template": {"index_patterns": [name], "template": {}}}]
    },
    "_component_template": lambda name: {
        "component_templates": [{"name": name, "component_template": {"template": {}}}]
    },
    "_template": lambda name: {name: {"index_patterns": [name], "settings": {}, "mappings": {}}},
    "_ilm": lambda name: {name: {"version": 1, "policy": {"phases": {}}}},
    "_ingest": lambda name: {name: {"processors": []}},
    "_data_stream": lambda name: {"data_streams": [{"name": name, "status": "GREEN", "indices": []}]},
}
"""What clients set up, by the first part of its path, and what is said of it."""
REFRESH = ("_refresh", "_flush")


def probe(method: str, path: list[str], host: str, agent: str) -> Found:
    """The answer to a request for `path`; `host` is where the client reaches us, `agent` who it is."""
    first, name = path[0] if path else "", path[-1] if path else ""
    reads = method in ("GET", "HEAD")
    if not path and reads:
        return Found(200, root(agent))
    if first in KEPT and method != "DELETE":
        return Found(200, KEPT[first](name) if reads and len(path) > 1 else {"acknowledged": True})
    if name in REFRESH and method != "DELETE":
        return Found(200, {"_shards": {"total": 1, "successful": 1, "failed": 0}})
    if reads and (about := _about(first, path, host)):
        return about
    if len(path) == 1 and not first.startswith("_") and method != "DELETE":
        if reads:
            return Found(200, {first: {"aliases": {}, "mappings": {}, "settings": {}}})
        return Found(200, {"acknowledged": True, "shards_acknowledged": True, "index": first})
    reason = f"no handler found for uri [/{'/'.join(path)}] and method [{method}]"
    hint = "documents are taken by /_bulk; search is GET /api/v1/search, and nothing is deleted here"
    return Found(400, error_body("illegal_argument_exception", f"{reason}; {hint}", 400))


def root(agent: str) -> Json:
    """Who answers. OpenSearch's clients are told OpenSearch."""
    opensearch = "opensearch" in agent.lower()
    version: Json = {"number": OPENSEARCH_VERSION if opensearch else VERSION}
    if opensearch:
        version["distribution"] = "opensearch"
    else:
        version["build_flavor"] = "default"
    return {
        "name": CLUSTER,
        "cluster_name": CLUSTER,
        "cluster_uuid": CLUSTER,
        "version": {
            **version,
            "build_type": "tar",
            "build_snapshot": False,
            "lucene_version": "9.12.1",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    }


def error_body(kind: str, reason: str, status: int) -> Json:
    """An error as Elasticsearch writes it."""
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def _about(first: str, path: list[str], host: str) -> Found | None:
    """The cluster that clients look at."""
    if first == "_license":
        return Found(200, {"license": {"status": "active", "type": "basic", "mode": "basic", "uid": CLUSTER}})
    if first == "_xpack":
        licence = {"uid": CLUSTER, "type": "basic", "mode": "basic", "status": "active"}
        return Found(200, {"build": {}, "license": licence, "features": {}})
    if first == "_cluster" and path[1:2] == ["health"]:
        return Found(
            200,
            {
                "cluster_name": CLUSTER,
                "status": "green",
                "timed_out": False,
                "number_of_nodes": 1,
                "number_of_data_nodes": 1,
                "active_shards": 1,
                "unassigned_shards": 0,
                "active_shards_percent_as_number": 100.0,
            },
        )
    if first == "_nodes":
        node = {"name": CLUSTER, "version": VERSION, "roles": ["ingest"], "http": {"publish_address": host}}
        return Found(200, {"_nodes": {"total": 1, "successful": 1, "failed": 0}, "nodes": {CLUSTER: node}})
    if first == "_cat":
        return Found(200, f"{CLUSTER} green 1 1\n" if path[1:2] == ["health"] else "")
    return None
