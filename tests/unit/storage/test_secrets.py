"""Secrets of the configuration: they come from where it says, and nothing shows them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.cold_config import cold_config
from storage.errors import ConfigError
from storage.sections import NO_SECRET, Secret, read_section


@dataclass(frozen=True)
class Section:
    password: Secret = NO_SECRET


def test_a_secret_is_read_from_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("of a file\n")
    monkeypatch.setenv("NEVE_TEST_SECRET", "of the environment")
    given = ["plain", f"file:{tmp_path}/secret", "env:NEVE_TEST_SECRET"]
    found = [read_section(Section, {"password": one}).password for one in given]
    assert found == ["plain", "of a file", "of the environment"]


@pytest.mark.parametrize("given", ["file:/nowhere/at/all", "env:NEVE_NO_SUCH_VARIABLE", "file:/"])
def test_a_secret_that_is_not_there_is_an_error(given: str) -> None:
    with pytest.raises(ConfigError, match="cannot use configuration key 'password'"):
        read_section(Section, {"password": given})


def test_a_secret_is_in_no_message() -> None:
    assert "hidden" not in repr(read_section(Section, {"password": "hidden"}))
    with pytest.raises(ConfigError) as caught:
        read_section(Section, {"password": ["hidden"]})
    assert "hidden" not in str(caught.value)


def test_credentials_of_the_catalog_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("deep\n")
    monkeypatch.setenv("NEVE_TEST_URI", "https://catalog")
    catalog = {
        "uri": "env:NEVE_TEST_URI", "warehouse": "file:///a/folder", "s3.secret-access-key": f"file:{tmp_path}/key",
    }  # fmt: skip
    found = cold_config(tmp_path, {"catalog": catalog}).catalog
    assert found == {
        "uri": "https://catalog",
        "warehouse": "file:///a/folder",
        "s3.secret-access-key": "deep",
    }
