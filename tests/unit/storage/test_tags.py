from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import tags


@given(st.text())
def test_shard_is_crc32_of_utf8(key: str) -> None:
    data = key.encode()
    assert tags.shard_of(key) == zlib.crc32(data) % 31 == tags.shard_of(data)


@given(st.binary(), st.integers(1, 99))
def test_shard_is_within_the_number_of_shards(key: bytes, shards: int) -> None:
    assert 0 <= tags.shard_of(key, shards) < shards


@pytest.mark.parametrize(
    ("key", "column"),
    # Fixed for ever: stored data are found by these.
    [("", "tags_00"), ("region", "tags_02"), ("user_id", "tags_17"), ("é", "tags_27")],
)
def test_column_of_known_keys(key: str, column: str) -> None:
    assert tags.column_of(key) == column


def test_key_that_is_not_utf8_has_the_shard_of_its_bytes() -> None:
    raw = b"caf\xe9"
    assert tags.shard_of(raw.decode("utf-8", "surrogateescape")) == tags.shard_of(raw)
