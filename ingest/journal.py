"""systemd's journal in its export format: where an entry ends, and what it says."""

from collections.abc import Iterator
from typing import NamedTuple

LEVELS = ("fatal", "critical", "critical", "error", "warn", "notice", "info", "debug")
"""By PRIORITY, as syslog's."""
MAX_FIELD_BYTES = 1 << 20
"""Of a field more is not kept: a core dump is no log line. That is counted."""
MAX_ENTRY_BYTES = 16 << 20
MAX_FIELDS = 1024
MAX_NAME_BYTES = 256
"""journald's own bound is 64."""
_NUMBERS = tuple(b"%d" % number for number in range(8))

Fields = list[tuple[bytes, bytes]]


class ExportDamaged(ValueError):
    """Bytes that are no export; nothing after them can be read."""


class Record(NamedTuple):
    """An entry, as `Columns.add_one` takes it."""

    text: bytes
    level: str
    service: bytes
    host: bytes
    tags: Fields
    timestamp_ns: int | None
    format: str


class Export:
    """Bytes in, entries out. Holds the beginning of an entry, and no more. `cut` counts fields that were too large."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._fields: Fields = []
        self._size = 0
        self._passing = 0  # bytes of a field that is too large: to come, and not kept
        self.cut = 0

    @property
    def waiting(self) -> int:
        """Bytes of an entry that is not whole."""
        return self._size + len(self._kept)

    def feed(self, data: bytes) -> Iterator[Fields]:
        """The entries that `data` completes. Raises ExportDamaged."""
        kept, at = self._kept, 0
        kept += data
        while True:
            if self._passing:
                step = min(self._passing, len(kept) - at)
                self._passing, at = self._passing - step, at + step
            newline = kept.find(b"\n", at)
            if newline < 0:
                break
            if newline == at:
                at += 1
                if self._fields:
                    yield self._whole()
                continue
            equals = kept.find(b"=", at, newline)
            if equals >= 0:
                name, value, after = bytes(kept[at:equals]), bytes(kept[equals + 1 : newline]), newline + 1
            else:
                start = newline + 9
                size = int.from_bytes(kept[newline + 1 : start], "little")
                end = start + min(size, MAX_FIELD_BYTES)
                if len(kept) <= end:
                    break
                name, value, after = bytes(kept[at:newline]), bytes(kept[start:end]), end + 1
                if size > MAX_FIELD_BYTES:
                    self.cut, self._passing = self.cut + 1, size - MAX_FIELD_BYTES
                elif kept[end] != 10:
                    raise ExportDamaged("a binary field that does not end where it says")
            if not 0 < len(name) <= MAX_NAME_BYTES or len(self._fields) == MAX_FIELDS:
                raise ExportDamaged("an entry with too many fields, or a name that is none")
            self._fields.append((name, value))
            self._size += after - at
            at = after
        del kept[:at]
        if self._size + len(kept) > MAX_ENTRY_BYTES + 4096:
            raise ExportDamaged(f"an entry of more than {MAX_ENTRY_BYTES} bytes")

    def end(self) -> Fields:
        """The last entry, which need not have an empty line after it. Raises ExportDamaged where it breaks off."""
        if self._kept or self._passing:
            raise ExportDamaged("it breaks off")
        return self._whole()

    def _whole(self) -> Fields:
        fields, self._fields, self._size = self._fields, [], 0
        return fields


_ADDRESSES = (b"__CURSOR", b"__REALTIME_TIMESTAMP", b"__MONOTONIC_TIMESTAMP", b"__SEQNUM", b"__SEQNUM_ID")
_TAKEN = frozenset((*_ADDRESSES, b"MESSAGE", b"PRIORITY", b"_HOSTNAME", b"SYSLOG_IDENTIFIER"))
_NAMES = {b"SYSLOG_FACILITY": b"syslog.facility", b"SYSLOG_PID": b"syslog.procid"}
_FACILITIES = (
    b"kern", b"user", b"mail", b"daemon", b"auth", b"syslog", b"lpr", b"news", b"uucp", b"cron", b"authpriv", b"ftp",
    b"ntp", b"audit", b"console", b"clock", b"local0", b"local1", b"local2", b"local3", b"local4", b"local5", b"local6",
    b"local7",
)  # fmt: skip


def record_of(fields: Fields) -> Record:
    """What an entry says. Names become lower case without leading underscores; journald's own hold before others'."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        found[name] = found[name] + b", " + value if name in found else value
    text = found.get(b"MESSAGE", b"")
    unit = found.get(b"_SYSTEMD_UNIT") or found.get(b"_SYSTEMD_USER_UNIT") or found.get(b"UNIT", b"")
    service = found.get(b"SYSLOG_IDENTIFIER") or unit.removesuffix(b".service") or found.get(b"_COMM", b"")
    priority, time = found.get(b"PRIORITY", b""), found.get(b"__REALTIME_TIMESTAMP", b"")
    level = LEVELS[int(priority)] if priority in _NUMBERS else ""
    tags: dict[bytes, bytes] = {}
    for name, value in found.items():
        if name not in _TAKEN and name.startswith(b"_"):
            tags[name.lstrip(b"_").lower() or name] = value
    for name, value in found.items():
        if name not in _TAKEN and not name.startswith(b"_"):
            plain = _NAMES.get(name) or name.lower()
            tags[name if plain in tags else plain] = _facility(value) if name == b"SYSLOG_FACILITY" else value
    if priority and not level:
        tags[b"priority"] = priority
    return Record(
        text,
        level,
        service,
        found.get(b"_HOSTNAME", b""),
        list(tags.items()),
        int(time) * 1000 if time.isdigit() and len(time) <= 16 else None,
        "json" if text.startswith(b"{") and text.endswith(b"}") else "message",
    )


def cursor_of(fields: Fields) -> bytes:
    """Where the entry stands in its journal; empty where it does not say."""
    return next((value for name, value in fields if name == b"__CURSOR"), b"")


def _facility(value: bytes) -> bytes:
    return _FACILITIES[int(value)] if value.isdigit() and len(value) < 3 and int(value) < 24 else value
