from __future__ import annotations

import inspect

import pytest

from storage import errors
from storage.errors import NeveError, StorageUnavailable

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, NeveError)]


def test_json_has_what_a_client_needs() -> None:
    error = NeveError("cannot read query: x", "say y", position=(1, 7), detail="internal")
    assert error.to_json() == {
        "error": {
            "code": "error",
            "message": "cannot read query: x",
            "hint": "say y",
            "position": {"line": 1, "column": 7},
        }
    }


def test_text_is_one_line_with_advice() -> None:
    assert str(StorageUnavailable("cannot reach clickhouse: a:1")).endswith("a:1; try again in a moment")
    assert str(NeveError("cannot do it")) == "cannot do it"


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_has_a_code_of_its_own(kind: type[NeveError]) -> None:
    assert [other.code for other in CLASSES].count(kind.code) == 1
    assert kind.status in {400, 401, 403, 404, 409, 422, 503}


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_is_drawn_in_the_module_docstring(kind: type[NeveError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
