"""Whatever bytes an event has, they come back from the cold tier as they were."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

Both = Any
texts = st.one_of(
    st.binary(max_size=12), st.text(max_size=12).map(lambda text: text.encode("utf-8", "replace"))
)
AWKWARD = [
    b"",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"caf\xe9",
    "déjà \U0001f600".encode(),
    b"\xef\xbf\xbd",
    b"\xe2\x82",
]
event = st.fixed_dictionaries(
    {
        "timestamp": st.integers(-(2**60), 2**62),
        "level": texts,
        "service": texts,
        "host": texts,
        "message": texts,
        "fingerprint": st.integers(0, 2**64 - 1),
        "trace_id": texts,
        "span_id": texts,
        "tags": st.dictionaries(texts, texts, max_size=6),
    }
)


BLOCKS = 25


@settings(max_examples=BLOCKS, deadline=None, database=None, phases=[Phase.generate])
@given(st.lists(event, min_size=1, max_size=20))
def draw(found: list[list[dict[str, Any]]], some: list[dict[str, Any]]) -> None:
    found.append(some)


def test_any_bytes(both: Both, make_block: Any) -> None:
    """Blocks of events drawn anew in each run; ageing takes its time, so they age in two passes."""
    blocks: list[list[dict[str, Any]]] = []
    draw(blocks)
    already: list[tuple[Any, ...]] = []
    for part in (blocks[::2], blocks[1::2]):
        both.insert(*map(make_block, part))
        before = both.hot_events()
        assert both.age() == len(before) == sum(map(len, part))
        already = sorted(already + before, key=lambda one: (one[8], one[9]))
        assert both.cold_events() == already


def test_awkward_bytes_in_every_place(both: Both, make_block: Any) -> None:
    names = ("level", "service", "host", "message", "trace_id", "span_id")
    some: list[dict[str, Any]] = [{name: value} for name in names for value in AWKWARD]
    some += [{"tags": {value: b"v", b"plain": value}} for value in AWKWARD]
    some += [{"tags": {b"\xff": b"a", b"\xfe": b"b", "\ufffd": b"c"}}]  # three keys that read the same
    both.insert(make_block(some))
    before = both.hot_events()
    both.age()
    assert both.cold_events() == before
    assert both.cold.pin(both.namespace).record.raw == {"fields_raw", "tags_raw"}


def test_messages_alone_need_no_side_columns(both: Both, make_block: Any) -> None:
    both.insert(make_block([{"message": value, "service": "plain"} for value in AWKWARD]))
    before = both.hot_events()
    both.age()
    assert both.cold_events() == before
    assert not both.cold.pin(both.namespace).record.raw


def test_others_read_a_text(both: Both, make_block: Any) -> None:
    both.insert(
        make_block([{"message": b"caf\xe9", "service": b"\xffx", "tags": {"name": b"ren\xe9", "of": b"x"}}])
    )
    both.age()
    row = both.cold.catalog.table(both.namespace).scan().to_arrow().to_pylist()[0]
    assert (row["message"], row["message_raw"]) == ("caf\ufffd", b"caf\xe9")
    assert (row["service"], row["fields_raw"]) == ("\ufffdx", [("service", b"\xffx")])
    tags = [tag for shard in range(31) for tag in row[f"tags_{shard:02d}"]]
    assert sorted(tags) == [("name", "ren\ufffd"), ("of", "x")]
    assert sorted(row["tags_raw"]) == [(b"name", b"ren\xe9"), (b"of", b"x")]
