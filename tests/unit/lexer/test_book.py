"""A pattern's id stays while templates come, whatever they are and in whatever portions."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lexer._lexer import hash64
from lexer.book import Book, Entry
from lexer.patterns import learn
from lexer.pins import Pins, read_pins

NAMES = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"]


def opened(names: Iterable[str]) -> list[bytes]:
    return [f"session opened for user {name} now".encode() for name in names]


def grow(
    entries: Mapping[int, Entry], templates: Iterable[bytes], pins: Pins | None = None
) -> tuple[dict[int, Entry], dict[int, Entry]]:
    """The book with more templates, and what changed."""
    changed = Book(entries, pins or Pins()).update({hash64(t): t for t in templates}, {})
    return {**entries, **changed}, changed


def test_what_is_new_at_once_is_learnt_as_ever() -> None:
    templates = [*opened(NAMES), b"link is up", b"link is down"]
    entries, _ = grow({}, templates)
    assert {t: entries[hash64(t)].pattern for t in templates} == learn(templates)


def test_a_new_template_joins_the_pattern_that_matches_it() -> None:
    entries, _ = grow({}, opened(NAMES))
    _, changed = grow(entries, opened([*NAMES, "zoe"]))
    (joined,) = changed.values()
    assert joined == entries[hash64(opened(["bob"])[0])]


def test_nothing_new_changes_nothing() -> None:
    templates = [*opened(NAMES), b"link is up"]
    entries, _ = grow({}, templates)
    assert grow(entries, templates)[1] == {}


def test_single_templates_that_prove_to_be_one_keep_an_id() -> None:
    entries, _ = grow({}, opened(NAMES[:2]))
    before = {entry.pattern.id for entry in entries.values()}
    assert len(before) == 2
    entries, _ = grow(entries, opened(NAMES))
    (pattern,) = {entry.pattern for entry in entries.values()}
    assert pattern.template == b"session opened for user <*> now"
    assert pattern.id in before


def test_the_id_of_a_pattern_that_became_part_of_another_leads_to_it() -> None:
    one = [b"user <*> at gate Aa_b of " + place for place in (b"x/y", b"x/z", b"x/w", b"x/v")]
    two = [b"user <*> at gate Cc_d of " + place for place in (b"x/y", b"x/z", b"x/w", b"x/v")]
    more = [b"user <*> at gate " + gate + b" of x/y" for gate in (b"Ee_f", b"Gg_h", b"Ii_j", b"Kk_l")]
    entries: dict[int, Entry] = {}
    for templates in (one, two):
        entries = {**entries, **grow({}, templates)[0]}
    ids = {entry.pattern.id for entry in entries.values()}
    assert len(ids) == 2
    entries, _ = grow(entries, one + two + more)
    assert len({entries[hash64(t)].pattern for t in one + two + more}) == 1
    (gone,) = ids - {entry.pattern.id for entry in entries.values()}
    assert entries[gone].is_alias
    assert entries[gone].pattern.id in ids


def test_pins_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "patterns.toml"
    path.write_text('[[pin]]\ntemplate = "session opened for user bob now"\nname = "Bob"\n')
    templates = opened(NAMES)
    entries, _ = grow({}, templates)
    (learnt,) = {entry.pattern for entry in entries.values()}
    entries, changed = grow(entries, templates, read_pins(path))
    assert [entry.pattern.name for entry in changed.values()] == ["Bob"]
    path.write_text('[[name]]\ntemplate = "session opened for user <*> now"\nname = "opened"\n')
    entries, _ = grow(entries, templates, read_pins(path))
    assert {(e.pattern.id, e.pattern.name) for e in entries.values()} == {(learnt.id, "opened")}
    entries, _ = grow(entries, templates)
    assert {entry.pattern for entry in entries.values()} == {learnt}


WORDS = st.sampled_from(["alice", "bob", "Aa_b", "Cc_d", "a/b", "c/d", "up", "down", "<*>", "user", "of"])
TEMPLATES = st.lists(st.lists(WORDS, min_size=2, max_size=6).map(" ".join), max_size=40)


@given(st.lists(TEMPLATES, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_template_has_a_pattern_and_no_id_gets_lost(portions: list[list[str]]) -> None:
    entries: dict[int, Entry] = {}
    templates: set[bytes] = set()
    for portion in portions:
        templates |= {template.encode() for template in portion}
        before = {number: entry.pattern.id for number, entry in entries.items()}
        entries, _ = grow(entries, templates)
        assert {hash64(template) for template in templates} <= set(entries)
        live = {entry.pattern.id for entry in entries.values()}
        assert all(id_ in live or id_ in entries for id_ in before.values())
        texts: dict[int, bytes] = {}
        assert all(
            texts.setdefault(e.pattern.id, e.pattern.template) == e.pattern.template for e in entries.values()
        )
        # Templates that were together stay together.
        for id_ in set(before.values()):
            assert len({entries[number].pattern.id for number, had in before.items() if had == id_}) == 1
