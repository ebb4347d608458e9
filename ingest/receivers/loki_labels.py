"""Labels of a Loki stream: how they are written, and what they say."""

import re
from collections.abc import Mapping

from ingest.errors import RequestRefused
from ingest.receivers.answers import unreadable
from ingest.receivers.said import DETECTED_LEVEL, Said, level_said

NO_SERVICE = "unknown_service"
"""What Loki's agents say where they know none."""
SERVICE_LABELS = ("service_name", "service", "service.name", "job", "app", "container")
HOST_LABELS = ("host", "hostname", "host_name", "host.name", "instance", "node_name")
LEVEL_LABELS = ("level", "severity", "severity_text", "log_level", DETECTED_LEVEL)
MEANT_ONCE = frozenset(
    ("service_name", "service", "service.name", "host", "hostname", "host_name", "host.name")
)
"""These name nothing but the column; the other labels that fill one stay tags too, for queries by them."""

_PAIR = re.compile(r'\s*([\w.:/-]+)\s*=\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|$)', re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip


def parse_labels(text: str) -> dict[str, str]:
    """`{name="value", …}`, values quoted as Go has it. Raises RequestRefused."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise _wrong(text)
    inner, labels, at = inner[1:-1].rstrip(), {}, 0
    while at < len(inner):
        found = _PAIR.match(inner, at)
        if not found:
            raise _wrong(text)
        name, quoted = found[1], found[2]
        labels[name] = quoted[1:-1] if quoted[0] == "`" else _ESCAPE.sub(_unescaped, quoted[1:-1])
        at = found.end()
    return labels


def said_by(labels: Mapping[str, str]) -> Said:
    """What a stream's labels say of each of its entries."""
    service, served = _first(labels, SERVICE_LABELS, NO_SERVICE)
    host, hosted = _first(labels, HOST_LABELS)
    level, levelled = "", ""
    for name in LEVEL_LABELS:
        if level := level_said(labels.get(name, "")):
            levelled = name
            break
    taken = {name for name in (served, hosted) if name in MEANT_ONCE} | {levelled}
    tags = tuple((name, value) for name, value in labels.items() if name not in taken)
    return Said(service, host, level, tags=tags)


def _first(labels: Mapping[str, str], names: tuple[str, ...], least: str = "") -> tuple[str, str]:
    """The first value of these labels, and its label; one that is `least` only where there is no other."""
    found = [(labels[name], name) for name in names if labels.get(name)]
    return next((one for one in found if one[0] != least), found[0] if found else ("", ""))


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else "\ufffd"
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPED.get(code, found[0])


def _wrong(text: str) -> RequestRefused:
    shown = text if len(text) <= 200 else text[:200] + "…"
    return unreadable(f"labels: {shown!r}", 'write them as {name="value"}')
