from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.config import ClickHouseConfig
from storage.errors import ConfigError


def test_defaults_of_a_short_url() -> None:
    assert ClickHouseConfig.from_url("clickhouse://db.example") == ClickHouseConfig("db.example", 9000)
    assert ClickHouseConfig.from_url("clickhouses://db.example").port == 9440
    assert ClickHouseConfig.from_url("clickhouses://db.example").secure


def test_whole_url() -> None:
    config = ClickHouseConfig.from_url("clickhouse://me:p%40ss@[::1]:1234/?pool_size=3&connect_timeout=0.5")
    assert config == ClickHouseConfig("::1", 1234, "me", "p@ss", connect_timeout=0.5, pool_size=3)


@given(
    st.builds(
        ClickHouseConfig,
        host=st.sampled_from(["localhost", "10.0.0.1", "::1"]),
        port=st.integers(1, 65535),
        user=st.text(min_size=1),
        password=st.text(),
        secure=st.booleans(),
        verify=st.booleans(),
        connect_timeout=st.floats(0.1, 100),
        send_receive_timeout=st.floats(0.1, 100),
        pool_size=st.integers(1, 100),
    )
)
def test_url_round_trip(config: ClickHouseConfig) -> None:
    assert ClickHouseConfig.from_url(config.url()) == config


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8123",
        "clickhouse://",
        "clickhouse://host:70000",
        "clickhouse://host/database",
        "clickhouse://host?pool=3",
        "clickhouse://host?pool_size=none",
        "clickhouse://host?pool_size=0",
        "clickhouse://host?connect_timeout=nan",
        "clickhouse://host?verify=maybe",
    ],
)
def test_wrong_urls_fail(url: str) -> None:
    with pytest.raises(ConfigError):
        ClickHouseConfig.from_url(url)


def test_password_shows_neither_in_repr_nor_in_messages() -> None:
    assert "secret" not in repr(ClickHouseConfig(password="secret"))
    with pytest.raises(ConfigError) as caught:
        ClickHouseConfig.from_url("clickhouse://me:secret@host:99999")
    assert "secret" not in str(caught.value)
