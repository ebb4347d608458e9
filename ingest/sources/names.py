"""File names: which patterns they match, what service and container they speak for, whose rotated copy they may be."""

import glob
import os
import re
from functools import lru_cache

_COMPRESSED = re.compile(r"\.(gz|xz|bz2|zst)$")
_ROTATED = re.compile(
    r"(\.\d{1,3}|[.-]\d{8}(-\d{2,6})?|[.-]\d{4}-\d{2}-\d{2}([T_-][\d-]+)?|\.(old|bak|backup))$"
)
_EXTENSION = re.compile(r"\.(log|logs|txt|out|err|json|jsonl|ndjson|logfmt|csv)$", re.IGNORECASE)
# /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log, /var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log[.…]
_KUBERNETES = (
    re.compile(r"/(?P<pod>[^_/]+)_(?P<namespace>[^_/]+)_(?P<container>[^/]+)-[0-9a-f]{64}\.log$"),
    re.compile(r"/pods/(?P<namespace>[^_/]+)_(?P<pod>[^_/]+)_[^_/]+/(?P<container>[^/]+)/\d+\.log[^/]*$"),
)


def kubernetes_of(path: str) -> dict[str, str]:
    """What the name of a log that a kubelet keeps says, under OpenTelemetry's names; nothing for other files."""
    for pattern in _KUBERNETES:
        if match := pattern.search(path):
            return {f"k8s.{what}.name": value for what, value in match.groupdict().items()}
    return {}


def service_of(path: str) -> str:
    """The service that a file's lines belong to where nobody says:

    its name without what rotation and type add; the container, where a kubelet keeps it.
    """
    if container := kubernetes_of(path).get("k8s.container.name"):
        return container
    name = os.path.basename(path)
    for pattern in (_COMPRESSED, _ROTATED, _EXTENSION, _ROTATED):
        name = pattern.sub("", name) or name
    return name


@lru_cache(maxsize=1 << 16)
def root_of(name: str) -> str:
    """A file name without what rotation adds: `app.log` for `app.log`, `app.log.1`, `app-20240131.log.gz`."""
    name = _COMPRESSED.sub("", name)
    bare = _ROTATED.sub("", name) or name
    stem, extension = os.path.splitext(bare)
    return (_ROTATED.sub("", stem) or stem) + extension


def compression_of(path: str) -> str:
    """How a file is compressed by its name: gz, xz, bz2 or zst; empty where it is not."""
    found = _COMPRESSED.search(path)
    return found[1] if found else ""


def is_compressed(path: str) -> bool:
    """Is it a compressed file by its name?"""
    return bool(compression_of(path))


def expand(pattern: str) -> list[str]:
    """The paths that a path, a glob or a folder names now, sorted; a folder: every file below it."""
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**")
    elif not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern] if os.path.lexists(pattern) else []
    return sorted(glob.glob(pattern, recursive=True))


def fixed_folder(pattern: str) -> str:
    """The deepest folder of a pattern that holds no wildcard: where to watch for what comes."""
    parts = []
    for part in os.path.dirname(pattern).split(os.sep):
        if glob.has_magic(part):
            break
        parts.append(part)
    return os.sep.join(parts) or os.sep


def matcher(pattern: str) -> re.Pattern[str]:
    """A regex that matches the paths a pattern can expand to."""
    if os.path.isdir(pattern):
        return re.compile(re.escape(pattern.rstrip(os.sep)) + r"/.*", re.DOTALL)
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", pattern)
    return re.compile("".join(_WILD.get(piece) or _piece(piece) for piece in pieces), re.DOTALL)


_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _piece(piece: str) -> str:
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        return piece.replace("[!", "[^", 1)
    return re.escape(piece)
