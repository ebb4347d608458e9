"""What syslog messages say, in the forms that are really sent."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.receivers.syslog import FACILITIES, LEVELS, parse, shift_of
from lexer import level_of

NOW = int(datetime.fromisoformat("2026-11-29T12:00:00Z").timestamp()) * 10**9


def said(data: bytes, zone: str = "UTC") -> dict[str, Any]:
    """What is not empty, with the time as text and tags as a dict."""
    message = parse(data, NOW, shift_of(ZoneInfo(zone)))._asdict()
    if (ns := message.pop("timestamp_ns")) is not None:
        message["time"] = datetime.fromtimestamp(ns / 1e9, ZoneInfo("UTC")).isoformat(
            timespec="milliseconds"
        )[:-6]
    tags = {name.removeprefix(b"syslog.").decode(): value.decode() for name, value in message.pop("tags")}
    return {name: value for name, value in message.items() if value not in (b"", "", "message", True)} | tags


CASES: list[tuple[bytes, dict[str, Any]]] = [
    (
        b"<34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - \xef\xbb\xbf'su root' failed",
        {"text": b"'su root' failed", "level": "critical", "service": b"su", "host": b"mymachine",
         "time": "2003-10-11T22:14:15.003", "facility": "auth", "msgid": "ID47"},
    ),
    (
        b'<165>1 2003-10-11T22:14:15-07:00 - app 12 - [e@1 iut="3" src="a\\"b\\]\\\\"][p@1 c="d" c="e"][q] text',
        {"text": b"text", "level": "notice", "service": b"app", "time": "2003-10-12T05:14:15.000", "facility": "local4",
         "procid": "12", "e@1.iut": "3", "e@1.src": 'a"b]\\', "p@1.c": "d, e", "q": ""},
    ),
    (b"<13>1 - - - - - -  rsyslog's", {"text": b"rsyslog's", "level": "notice", "facility": "user"}),
    (b"<13>1 - - - - - -   at f()", {"text": b"  at f()", "level": "notice", "facility": "user"}),
    (b"<13>1 - - - - - -", {"level": "notice", "facility": "user"}),
    (
        b'<13>1 - h a - - [e x="1 broken',
        {"text": b'[e x="1 broken', "level": "notice", "service": b"a", "host": b"h", "facility": "user",
         "understood": False},
    ),
    (
        b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed\n",
        {"text": b"'su root' failed", "level": "critical", "service": b"su", "host": b"mymachine",
         "time": "2026-10-11T22:14:15.000", "facility": "auth"},
    ),
    (
        b"<30>Dec 31 23:59:58 h postfix/smtpd[12]: lost",
        {"text": b"lost", "level": "info", "service": b"postfix/smtpd", "host": b"h", "procid": "12",
         "time": "2025-12-31T23:59:58.000", "facility": "daemon"},
    ),
    (
        b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
        {"text": b"Use the BFG!", "level": "notice", "host": b"10.0.0.99", "time": "2026-02-05T17:32:18.000",
         "facility": "user"},
    ),
    (
        b"<13>Nov 29 11:50:37 root: no host",
        {"text": b"no host", "level": "notice", "service": b"root", "time": "2026-11-29T11:50:37.000",
         "facility": "user"},
    ),
    (
        b"<14>2024-01-02T03:04:05.678901+01:00 fe80::1 tag[12]: rsyslog's",
        {"text": b"rsyslog's", "level": "info", "service": b"tag", "host": b"fe80::1", "procid": "12",
         "time": "2024-01-02T02:04:05.678", "facility": "user"},
    ),
    (
        b"<166>Sep 10 2024 12:34:56 fw1 : %ASA-6-302013: Built",
        {"text": b"%ASA-6-302013: Built", "level": "info", "host": b"fw1", "time": "2024-09-10T12:34:56.000",
         "facility": "local4"},
    ),
    (
        b"<189>237: router1: *Sep 10 12:34:56.123 UTC: %LINK-3-UPDOWN: down",
        {"text": b"%LINK-3-UPDOWN: down", "level": "notice", "host": b"router1", "sequence": "237",
         "time": "2026-09-10T12:34:56.123", "facility": "local7"},
    ),
    (b"<11>CRON[7]: run\0", {"text": b"run", "level": "error", "service": b"CRON", "procid": "7", "facility": "user"}),
    (b"<14>myapp: up", {"text": b"up", "level": "info", "service": b"myapp", "facility": "user"}),
    (b"<14>ValueError: bad", {"text": b"ValueError: bad", "level": "info", "facility": "user"}),
    (b"<14>error: bad", {"text": b"error: bad", "level": "info", "facility": "user"}),
    (b"<8>boot", {"text": b"boot", "level": "fatal", "facility": "user"}),
    (b"<9>boot", {"text": b"boot", "level": "critical", "facility": "user", "severity": "alert"}),
    (b"<192>x", {"text": b"<192>x", "format": "text", "understood": False}),
    (b"plain", {"text": b"plain", "format": "text", "understood": False}),
    (
        b'<14>Nov 29 11:50:37 h app: @cee: {"a":1}',
        {"text": b'{"a":1}', "format": "json", "level": "info", "service": b"app", "host": b"h",
         "time": "2026-11-29T11:50:37.000", "facility": "user"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), CASES, ids=[repr(data)[:40] for data, _ in CASES])
def test_messages(data: bytes, expected: dict[str, Any]) -> None:
    assert said(data) == expected


def test_times_without_a_zone_are_of_the_one_that_is_said() -> None:
    assert said(b"<13>Jul  1 12:00:00 h a: x", "Europe/Berlin")["time"] == "2026-07-01T10:00:00.000"
    assert said(b"<13>Nov  1 12:00:00 h a: x", "Europe/Berlin")["time"] == "2026-11-01T11:00:00.000"
    assert (
        said(b"<13>1 2026-07-01T12:00:00Z h a - - - x", "Europe/Berlin")["time"] == "2026-07-01T12:00:00.000"
    )
    assert said(b"<13>2026-07-01T12:00:00Z h a: x", "Europe/Berlin")["time"] == "2026-07-01T12:00:00.000"
    assert said(b"<13>2026-07-01T12:00:00 h a: x", "Europe/Berlin")["time"] == "2026-07-01T10:00:00.000"


@pytest.mark.parametrize(
    "stamp", ["Jul  1 2026 12:00:00 UTC", "Jul  1 2026 15:00:00 +0300", "Jul  1 12:00:00 UTC"]
)
def test_a_zone_that_a_time_with_a_year_says_holds(stamp: str) -> None:
    message = said(f"<189>12: {stamp}: %SYS-5-CONFIG_I: x".encode(), "Europe/Berlin")
    assert message["time"] == "2026-07-01T12:00:00.000"


def test_levels_are_those_of_words() -> None:
    words = (b"emerg", b"alert", b"crit", b"err", b"warning", b"notice", b"info", b"debug")
    assert tuple(map(level_of, words)) == LEVELS
    assert len(FACILITIES) == 24


STARTS = [b"", *(data[: len(data) // 2] for data, _ in CASES)]


@given(
    st.sampled_from(STARTS), st.binary(max_size=200) | st.text('[]="\\ <>:-1a', max_size=200).map(str.encode)
)
def test_any_bytes_are_a_message(start: bytes, rest: bytes) -> None:
    message = parse(start + rest, NOW, shift_of(None))
    assert message.understood or (start + rest).rstrip(b"\r\n\0").endswith(message.text)
    assert all(name for name, _ in message.tags)


@pytest.mark.parametrize(
    "piece", [b"[a ", b'[a b="', b'[a b="c"]', b"\\", b" ", b"a" * 7 + b": ", b"{", b"<13>"]
)
def test_no_message_takes_longer_than_its_length(piece: bytes) -> None:
    """A regex that goes back would not come to an end here."""
    for start in (b"<13>1 - h a - - ", b"<13>Nov 29 11:50:37 ", b"<13>", b""):
        parse(start + piece * (200_000 // len(piece)), NOW, shift_of(None))
