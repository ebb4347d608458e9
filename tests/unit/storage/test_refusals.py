from __future__ import annotations

import pytest
from clickhouse_driver.errors import ServerException

from storage import errors
from storage.native import refusals

SAID = "DB::Exception: Cannot convert: UInt64 to String. Stack trace:\n\n0. ? @ 0x0"


@pytest.mark.parametrize(
    ("code", "sent", "kind"),
    [
        (70, True, errors.InsertRefused),
        (16, False, errors.InsertRefused),
        (241, True, errors.InsertUnknown),
        (252, False, errors.StorageUnavailable),
        (60, False, errors.StorageUnavailable),
        (394, True, errors.InsertUnknown),
    ],
)
def test_insert(code: int, sent: bool, kind: type[Exception]) -> None:
    assert type(refusals.insert_error(ServerException(SAID, code), sent=sent)) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (62, errors.QueryFailed),
        (60, errors.QueryFailed),
        (159, errors.QueryTimeout),
        (241, errors.QueryLimit),
        (307, errors.QueryLimit),
        (394, errors.QueryCancelled),
        (202, errors.StorageUnavailable),
    ],
)
def test_query(code: int, kind: type[Exception]) -> None:
    error = refusals.query_error(ServerException(SAID, code))
    assert type(error) is kind
    assert "UInt64" not in str(error)
    assert "UInt64" in error.detail


def test_first_line_is_without_name_and_stack() -> None:
    assert refusals.first_line(ServerException(SAID, 70)) == "Cannot convert: UInt64 to String"
