"""Marks: the same file is known again, another one is not taken for it."""

from dataclasses import dataclass

from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.identity import HEAD_BYTES, Footprint, Mark


@dataclass
class Bytes:
    """Content in memory."""

    data: bytes

    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


contents = st.binary(min_size=1, max_size=3000)


@given(contents, st.data())
def test_footprint_is_the_same_however_it_was_read(content: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    footprint = Footprint()
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        footprint.take(memoryview(content)[start:end])
    assert footprint == Footprint.of(Bytes(content), len(content))
    assert footprint.matches(Bytes(content))


@given(contents, st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_mark_matches_the_file_after_it_grew(content: bytes, more: bytes, generation: int) -> None:
    mark = Footprint.of(Bytes(content), len(content)).mark(generation)
    assert Mark.decode(mark.encode(), len(content)) == mark
    assert mark.matches(Bytes(content + more))


@given(contents, st.data())
def test_change_at_either_end_is_another_file(content: bytes, data: st.DataObject) -> None:
    mark = Footprint.of(Bytes(content), len(content)).mark(0)
    looked_at = [*range(min(HEAD_BYTES, len(content))), *range(max(0, len(content) - 256), len(content))]
    place = data.draw(st.sampled_from(looked_at))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not mark.matches(Bytes(bytes(changed)))


@given(contents, st.integers(0, 3000))
def test_shorter_file_is_another(content: bytes, size: int) -> None:
    assume(size < len(content))
    assert not Footprint.of(Bytes(content), len(content)).mark(0).matches(Bytes(content[:size]))
