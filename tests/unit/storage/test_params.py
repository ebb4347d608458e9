from __future__ import annotations

import pytest

from storage.native import params


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "abc"),
        ("it's", r"it\\\'s"),
        ("a\\b", r"a\\\\b"),
        ("a\nb\0", r"a\\x0ab\\x00"),
        ("é", "é"),
        (b"caf\xe9 \xc3\xa9", r"caf\\xe9 é"),
        ("caf\udce9", r"caf\\xe9"),
        (7, "7"),
        (-0.5, "-0.5"),
        (True, "1"),
        (None, r"\\N"),
        ([1, 2], "[1,2]"),
        ((None, "x'"), r"[NULL,\'x\\\'\']"),
        ([], "[]"),
    ],
)
def test_literals(value: object, text: str) -> None:
    assert str(params.literals({"p": value})["p"]) == text


@pytest.mark.parametrize("value", [{}, object(), [{}], [[1]]])
def test_values_without_a_form_fail(value: object) -> None:
    with pytest.raises(TypeError, match="cannot bind"):
        params.literals({"p": value})
