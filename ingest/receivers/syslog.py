"""What a syslog message says: RFC 5424, RFC 3164 as it is really written, and what has no form at all.

Nothing is thrown away: a message that is of neither form is kept whole, as text.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple

from lexer import level_of, timestamp

Tags = list[tuple[bytes, bytes]]

LEVELS = ("fatal", "critical", "critical", "error", "warn", "notice", "info", "debug")
"""By severity, as `lexer.level_of` has them; `syslog.severity` tells an alert from what is critical."""
FACILITIES = (
    b"kern", b"user", b"mail", b"daemon", b"auth", b"syslog", b"lpr", b"news", b"uucp", b"cron", b"authpriv", b"ftp",
    b"ntp", b"audit", b"console", b"clock", b"local0", b"local1", b"local2", b"local3", b"local4", b"local5", b"local6",
    b"local7",
)  # fmt: skip
FACILITY, SEVERITY, PROCID, MSGID = b"syslog.facility", b"syslog.severity", b"syslog.procid", b"syslog.msgid"
SEQUENCE = b"syslog.sequence"
STAMP_ROOM = 48  # bytes in which a timestamp ends
HOUR_NS = 3_600_000_000_000

_ALERT = 1
_PRI = re.compile(rb"<(\d{1,3})>")
_HEADER = re.compile(rb"<(\d{1,3})>1 ++(\S++) ++(\S++) ++(\S++) ++(\S++) ++(\S++)(?: |$)")
_PARAM = rb' ++[^\s=\]"]++="(?:[^"\\]|\\.)*+"'
_DATA = re.compile(rb'(?:\[[^\s=\]"]++(?:' + _PARAM + rb")*+ *+\])++(?: |$)", re.DOTALL)
_ELEMENT = re.compile(rb'\[([^\s=\]"]++)|([^\s=\]"]++)="((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPE = re.compile(rb'\\(["\\\]])')
_BOM = b"\xef\xbb\xbf"
_COOKIE = re.compile(rb"\s*+@cee: ?")

# Cisco: a sequence number, perhaps a name, perhaps a mark for a clock that is not set.
_CISCO = re.compile(rb"(?:(\d{1,12}): )?(?:([^\s:]++): )?[*.]?(?=[A-Za-z]{3} )")
_ZONE = re.compile(rb" ([A-Z]{1,5}): (?=%)|: ?| ?")
_ZONED = re.compile(rb"(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$")  # how a time ends that says its own
_TAG = rb"(?![%\[])([^\s:\[\]]{1,255}+)(?:\[([^\]\s]{1,64}+)\](?::|(?=\s|$))|:(?=\s|$)) ?"
_TAGGED = re.compile(_TAG)
_HOST_TAGGED = re.compile(rb"([^\s\[\]]++) ++" + _TAG)
_HOST = re.compile(rb"([^\s%\[\]]++)(?: ?:)? ++")
# Without a time nothing says that there is a header. `Error: no such file` has none.
_PLAIN_TAGGED = re.compile(
    rb"(?:([\w./-]{1,128}+)\[(\d{1,10}+)\](?::|(?=\s)) ?|([a-z0-9_][a-z0-9_./-]{0,127}+): )"
)


class Message(NamedTuple):
    """One message, as `Intake.record` takes it. `understood`: its header could be read."""

    text: bytes
    format: str = "text"
    level: str = ""
    service: bytes = b""
    host: bytes = b""
    tags: Tags = []  # noqa: RUF012 - never changed
    timestamp_ns: int | None = None
    understood: bool = True


Shift = Callable[[int], int]
"""From a time that was read as UTC, and named no zone, to the time that it is."""


def parse(data: bytes, received_ns: int, shift: Shift = lambda ns: ns) -> Message:
    """What a message says. `received_ns` dates what has no year. Never fails."""
    data = data.rstrip(b"\r\n\0")
    header = _HEADER.match(data)
    if header is not None:
        return _rfc5424(data, header, received_ns)
    pri = _PRI.match(data)
    if pri is None or int(pri[1]) > 191:
        return Message(data, understood=False)
    return _rfc3164(data[pri.end() :], int(pri[1]), received_ns, shift)


def _rfc5424(data: bytes, header: re.Match[bytes], received_ns: int) -> Message:
    pri, stamp, host, app, procid, msgid = header.groups()
    value = int(pri)
    at = header.end()
    stamped = timestamp(stamp, received_ns) if stamp != b"-" else None
    if value > 191:
        return Message(data, understood=False)
    if stamped is None and stamp != b"-":
        return Message(data, level=LEVELS[value & 7], tags=_tags_of(value), understood=False)
    tags = _tags_of(value)
    if procid != b"-":
        tags.append((PROCID, procid))
    if msgid != b"-":
        tags.append((MSGID, msgid))
    understood = True
    if data.startswith(b"[", at):
        found = _DATA.match(data, at)
        if found is None:
            understood = False  # its message begins with what was meant to be data
        else:
            tags += _structured(data[at : found.end()])
            at = found.end()
    elif data[at : at + 1] == b"-" and data[at + 1 : at + 2] in (b" ", b""):
        at += 2
    if data[at : at + 1] == b" " and data[at + 1 : at + 2] not in (b" ", b""):
        at += 1  # rsyslog's own, before the message that it heard
    text, format = _text(data[at:])
    return Message(
        text,
        format,
        LEVELS[value & 7],
        b"" if app == b"-" else app,
        b"" if host == b"-" else host,
        tags,
        stamped[0] if stamped else None,
        understood,
    )


def _structured(data: bytes) -> Tags:
    """`[id name="value"]…` as tags `id.name`. Of a name that comes twice all values are kept."""
    found: dict[bytes, bytes] = {}
    element = b""
    for one in _ELEMENT.finditer(data):
        if one[1] is not None:
            element = one[1]
            found.setdefault(element, b"")
            continue
        found.pop(element, None)  # only one without params is a tag itself
        name, value = element + b"." + one[2], one[3]
        if b"\\" in value:
            value = _ESCAPE.sub(rb"\1", value)
        found[name] = found[name] + b", " + value if name in found else value
    return list(found.items())


def _rfc3164(rest: bytes, value: int, received_ns: int, shift: Shift) -> Message:
    tags, host, tag = _tags_of(value), b"", None
    at = 0
    stamped = timestamp(rest[:STAMP_ROOM], received_ns)
    if stamped is None:
        cisco = _CISCO.match(rest)
        if cisco is not None and cisco.end():
            stamped = timestamp(rest[cisco.end() : cisco.end() + STAMP_ROOM], received_ns)
        if cisco is not None and stamped is not None:
            at, host = cisco.end(), cisco[2] or b""
            if cisco[1]:
                tags.append((SEQUENCE, cisco[1]))
    if stamped is None:
        plain = _PLAIN_TAGGED.match(rest)
        if plain is not None and not level_of(plain[1] or plain[3]):
            tag, at = (plain[1] or plain[3], plain[2]), plain.end()
        time = None
    else:
        time, zoned, at = _time(rest, at, stamped, shift)
        at, host, tag = _names(rest, at, host, zoned)
    if tag is not None and tag[1]:
        tags.append((PROCID, tag[1]))
    text, format = _text(rest[at:])
    return Message(text, format, LEVELS[value & 7], tag[0] if tag else b"", host, tags, time)


def _time(rest: bytes, at: int, stamped: tuple[int, int], shift: Shift) -> tuple[int, bool, int]:
    """The time, whether a colon ends it as Cisco has it, and where what follows begins."""
    time, taken = stamped
    after = _ZONE.match(rest, at + taken)
    assert after is not None
    if not _ZONED.search(rest, at, at + taken) and after[1] not in (b"UTC", b"GMT", b"Z"):
        time = shift(time)
    return time, b":" in after[0], after.end()


def _names(
    rest: bytes, at: int, host: bytes, over: bool
) -> tuple[int, bytes, tuple[bytes, bytes | None] | None]:
    """Where the message begins, the host, and tag and process id; `over`: the header ended with the time."""
    tagged = _TAGGED.match(rest, at)
    if tagged is None and not over and not host:
        tagged = _HOST_TAGGED.match(rest, at)
        if tagged is not None:
            return tagged.end(), tagged[1], (tagged[2], tagged[3])
        named = _HOST.match(rest, at)
        return (named.end(), named[1], None) if named is not None else (at, host, None)
    if tagged is None:
        return at, host, None
    return tagged.end(), host, (tagged[1], tagged[2])


def _tags_of(value: int) -> Tags:
    tags = [(FACILITY, FACILITIES[value >> 3])]
    if value & 7 == _ALERT:
        tags.append((SEVERITY, b"alert"))
    return tags


def _text(data: bytes) -> tuple[bytes, str]:
    """The message itself, and how it is read: JSON in it becomes tags."""
    if data.startswith(_BOM):
        data = data[3:]
    cookie = _COOKIE.match(data)
    if cookie is not None:
        return data[cookie.end() :], "json"
    return data, "json" if data.startswith(b"{") and data.endswith(b"}") else "message"


def shift_of(zone: tzinfo | None) -> Shift:
    """For times that say no zone: they are of `zone`, or where it is None of the zone of this machine."""

    @lru_cache(maxsize=64)
    def offset_ns(hour: int) -> int:
        seconds = hour * 3600
        there = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=zone)
        offset = (there.astimezone() if zone is None else there).utcoffset()
        return int(offset.total_seconds()) * 1_000_000_000 if offset is not None else 0

    def shift(ns: int) -> int:
        return ns - offset_ns(ns // HOUR_NS)

    return shift
