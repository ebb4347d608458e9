"""The second stage: what becomes one pattern, what must not, and that neither order nor repetition matters."""

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexer.patterns import learn

NAMES = ["root", "alice", "bob", "carol", "dave", "erin", "frank"]


def found(*templates: str, times: int = 1) -> list[set[str]]:
    """The patterns' texts and how many templates each has, as the groups of template numbers."""
    patterns = learn([t.encode() for t in templates] * times)
    groups: dict[int, set[str]] = {}
    for template, pattern in patterns.items():
        groups.setdefault(pattern.id, set()).add(template.decode())
    return list(groups.values())


ONE = {
    "many plain words": [f"session opened for user {name} now" for name in NAMES],
    "two places at once": [
        f"[{a}] logged in from {b}.lan.example" for a, b in zip(NAMES, NAMES[::-1], strict=True)
    ],
    "paths and classes, few of them": [
        f"cannot load {c}" for c in ("org.a.Index", "org.b.Store", "com.c.Web")
    ],
    "in quotes": [f'opened database "{name}" for writing' for name in ("orders", "users", "audit", "shop")],
    "what the lexer found elsewhere": ["lost client <*> after login", "lost client alice after login"],
    "values glued together": ["connected to <*>:<*> again", "connected to <*> again"],
    "several words behind a colon": [
        f"cannot write to disk: {why}"
        for why in ("No space left", "Permission denied", "Broken pipe", "Is full", "Bad block", "Timed out")
    ],
}
APART = {
    "opposites": ["link is up", "link is down"],
    "verbs": [
        f"backup of volume {verb}"
        for verb in ("started", "stopped", "finished", "failed", "resumed", "aborted")
    ],
    "function words": ["job is in queue <*>", "job was in queue <*>", "job not in queue <*>"],
    "names of values": [
        f"server {key} = <*>" for key in ("port", "host", "home", "user", "shell", "term", "lang")
    ],
    "too little around": [*NAMES],
    "two plain words": ["read the alpha table", "read the beta table"],
}


@pytest.mark.parametrize("case", ONE)
def test_one_pattern(case: str) -> None:
    assert found(*ONE[case]) == [set(ONE[case])]


@pytest.mark.parametrize("case", APART)
def test_stay_apart(case: str) -> None:
    assert len(found(*APART[case])) == len(APART[case])


def test_names_that_alternate_everywhere_are_names() -> None:
    says = ["{} joined the game", "{} left the game", "{} fell from a high place", "{} has gone to sleep"]
    templates = [line.format(name) for line in says for name in ("Steve", "Herobrine", "Zoe")]
    assert len(found(*templates)) == len(says)


def test_where_many_lines_were_seen_more_words_are_needed() -> None:
    templates = ["reading org.app.First now", "reading org.app.Second now", "reading org.app.Third now"]
    assert len(found(*templates)) == 1
    assert len(found(*templates, times=1_000_000 // 3)) == 3


def test_the_text_keeps_its_white_space_and_marks() -> None:
    (pattern,) = {p.template for p in learn(f'  user  "{name}"\tis in.'.encode() for name in NAMES).values()}
    assert pattern == b'  user  "<*>"\tis in.'


WORDS = st.sampled_from(
    [
        "<*>",
        "user",
        "root",
        "alice",
        "bob",
        "is",
        "up",
        "down",
        "from",
        "a.b.Cc",
        "x-y",
        "opened",
        '"',
        "(",
        ")",
        ":",
        "=",
        ",",
        "Zed",
        "/etc/x",
    ]
)
TEMPLATES = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=60) | st.lists(
    st.tuples(
        st.sampled_from(["user {} from {}", "link {} is {}:{}", "({}) at <*>:{} x"]), WORDS, WORDS, WORDS
    ).map(lambda t: t[0].format(*t[1:])),
    max_size=60,
)


@given(TEMPLATES, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_order_does_not_matter_and_learning_again_changes_nothing(
    templates: list[str], pick: random.Random
) -> None:
    lines = [template.encode() for template in templates]
    first = learn(lines)
    pick.shuffle(lines)
    assert learn(lines) == first
    again = learn(first[line].template for line in lines)  # the patterns, each as often as its lines came
    assert all(text == pattern.template for text, pattern in again.items())


@given(st.lists(st.binary(max_size=40), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_bytes(templates: list[bytes]) -> None:
    assert set(learn(templates)) == set(templates)


HARD = {
    "one place": [b"user n%dx logged in" % i for i in range(1600)],
    "every place": [
        b" ".join(b"Aa_b" if i >> k & 1 else b"Ba_c" for k in range(12)) + b" here" for i in range(1600)
    ],
    "variables or words": [
        b" in ".join(b"<*>" if i >> k & 1 else b"alpha" for k in range(12)) for i in range(1600)
    ],
    "brackets": [b"(" * 150 + b"w%dx" % i + b")" * 150 for i in range(200)],
    "nothing alike": [b"a%dx b%dx of c%dx: d%dx" % (i, 3 * i, 7 * i, i % 40) for i in range(1600)],
}


def calls(templates: list[bytes]) -> int:
    """How many functions are called to learn: no clock, so the same each time."""
    count = 0

    def one_more(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(one_more)
    try:
        learn(templates)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("case", HARD)
def test_twice_as_many_templates_are_twice_the_work(case: str) -> None:
    templates = HARD[case]
    assert calls(templates) < 3 * calls(templates[: len(templates) // 2])
