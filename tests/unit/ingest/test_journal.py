"""The journal's export format, however it is cut, and what its entries say."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.journal import MAX_FIELD_BYTES, Export, ExportDamaged, Fields, record_of


def exported(*entries: Fields) -> bytes:
    """As journalctl writes it."""
    data = b""
    for entry in entries:
        for name, value in entry:
            plain = b"\n" not in value
            data += (
                name + (b"=" + value if plain else b"\n" + len(value).to_bytes(8, "little") + value) + b"\n"
            )
        data += b"\n"
    return data


def read(data: bytes, cuts: list[int] | None = None) -> list[Fields]:
    export, found = Export(), []
    places = sorted(cut % (len(data) + 1) for cut in cuts or [])
    for start, end in pairwise([0, *places, len(data)]):
        found += list(export.feed(data[start:end]))
    last = export.end()
    return found + ([last] if last else [])


FIELDS = st.lists(
    st.tuples(st.from_regex(rb"[A-Z_]{1,12}", fullmatch=True), st.binary(max_size=60)), min_size=1, max_size=5
)


@given(st.lists(FIELDS, max_size=4), st.lists(st.integers(0)))
def test_entries_come_out_as_they_went_in(entries: list[Fields], cuts: list[int]) -> None:
    assert read(exported(*entries), cuts) == entries


@given(st.binary(max_size=300), st.lists(st.integers(0)))
def test_any_bytes_are_entries_or_refused(data: bytes, cuts: list[int]) -> None:
    try:
        found = read(data, cuts)
    except ExportDamaged:
        return
    for entry in found:
        record_of(entry)


def test_a_field_that_is_too_large_is_cut_and_counted() -> None:
    export, size = Export(), 5 * MAX_FIELD_BYTES
    data = b"A=1\nCOREDUMP\n" + size.to_bytes(8, "little") + b"\n" * size + b"\nB=2\n\n"
    found = [entry for at in range(0, len(data), 70_000) for entry in export.feed(data[at : at + 70_000])]
    assert found == [[(b"A", b"1"), (b"COREDUMP", b"\n" * MAX_FIELD_BYTES), (b"B", b"2")]]
    assert export.cut == 1


@pytest.mark.parametrize(
    "data", [b"A=1\nB", b"A\n\x01\0\0\0\0\0\0\0xy\n", b"=1\n\n", b"A\n" + b"\xff" * 8 + b"x"]
)
def test_what_breaks_off_is_said(data: bytes) -> None:
    with pytest.raises(ExportDamaged):
        read(data)


def test_what_an_entry_says() -> None:
    record = record_of(
        [
            (b"__CURSOR", b"s=1"), (b"__REALTIME_TIMESTAMP", b"1700000000123456"), (b"MESSAGE", b"two\nlines"),
            (b"PRIORITY", b"3"), (b"_HOSTNAME", b"h"), (b"_SYSTEMD_UNIT", b"shop.service"), (b"_PID", b"7"),
            (b"PID", b"8"), (b"SYSLOG_FACILITY", b"3"), (b"ORDER_ID", b"17"), (b"ORDER_ID", b"18"),
        ]
    )  # fmt: skip
    assert record[:4] == (b"two\nlines", "error", b"shop", b"h")
    assert record.timestamp_ns == 1700000000123456000
    assert dict(record.tags) == {
        b"systemd_unit": b"shop.service",
        b"pid": b"7",
        b"PID": b"8",
        b"syslog.facility": b"daemon",
        b"order_id": b"17, 18",
    }
