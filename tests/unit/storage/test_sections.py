"""Tables of the configuration: what is wrong is named, with what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigError
from storage.sections import host_and_port, read_section


@dataclass(frozen=True)
class Inner:
    size: int = 1
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str = ""
    on: bool = False
    folder: Path = Path("data")
    names: tuple[str, ...] = ()
    inner: Inner = Inner()
    each: Mapping[str, Inner] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)


def test_a_table_is_read() -> None:
    given = {
        "name": "n", "on": True, "folder": "/x", "names": ["a", "b"], "inner": {"size": 2, "share": 1},
        "each": {"one": {"size": 3}}, "free": {"anything": [1]},
    }  # fmt: skip
    want = Outer("n", True, Path("/x"), ("a", "b"), Inner(2, 1.0), {"one": Inner(3)}, {"anything": [1]})
    assert read_section(Outer, given) == want
    assert read_section(Outer, {}) == Outer()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nam": "x"}, "'nam'"),
        ({"name": 1}, "'name': 1"),
        ({"on": 1}, "'on': 1"),
        ({"inner": 3}, "'inner': 3"),
        ({"inner": {"size": True}}, "'inner.size': True"),
        ({"inner": {"size": 1.5}}, "'inner.size': 1.5"),
        ({"inner": {"sizes": 1}}, "'inner.sizes'"),
        ({"names": "a"}, "'names': 'a'"),
        ({"names": [1]}, "'names'"),
        ({"each": {"one": {"x": 1}}}, "'each.one.x'"),
        ({"free": 1}, "'free': 1"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match="cannot use configuration key") as caught:
        read_section(Outer, given)
    assert says in caught.value.message
    assert caught.value.hint


def test_an_address() -> None:
    assert host_and_port("127.0.0.1:80") == ("127.0.0.1", 80)
    assert host_and_port("[::1]:80") == ("::1", 80)
    for wrong in ("", "80", "host", "host:", "host:x", "host:70000"):
        with pytest.raises(ConfigError, match="cannot listen"):
            host_and_port(wrong)
