"""What the index of words may be asked about a term: only runs that stand whole wherever the term is found."""

from __future__ import annotations

import pytest

from query.words import WordPattern


@pytest.mark.parametrize(
    ("parts", "tokens"),
    [
        (("error",), ["error"]),
        (("Connection Refused",), ["connection", "refused"]),
        (("error_code",), ["error", "code"]),
        (("12:30:45",), ["12", "30", "45"]),
        (("time", ""), []),
        (("", "refused"), []),
        (("t", "out"), []),
        (("request t", ""), ["request"]),
        (("a b", "c d"), ["a", "d"]),
        (("-", " x-y"), ["x", "y"]),
        (("café1x",), ["caf", "1x"]),
        (("é",), []),
        (("登录",), []),
        (("登录abc",), ["abc"]),
        (("abc登录",), ["abc"]),
        (("登录 abc 登录",), ["abc"]),
        (("abc登录", ""), ["abc"]),
        (("a a A",), ["a"]),
        (("\u212aelvin",), ["elvin"]),  # the Kelvin sign is no k
        (("%",), []),
    ],
)
def test_tokens(parts: tuple[str, ...], tokens: list[str]) -> None:
    assert WordPattern.of(parts).tokens() == tokens


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        (("登录",), ["登录"]),
        (("录",), []),
        (("用户 登录失败 x",), ["用户", "登录失败"]),
        (("登", "录"), []),
        (("abc登录", "登录 ไม่พบ"), ["登录", "ไม่พบ"]),
        (("привет",), []),
    ],
)
def test_runs_of_scripts_without_spaces(parts: tuple[str, ...], runs: list[str]) -> None:
    assert WordPattern.of(parts).spaceless() == runs
