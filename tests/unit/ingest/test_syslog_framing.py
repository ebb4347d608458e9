"""Where messages end on a connection, however it is cut into pieces."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.receivers.syslog_framing import Framing, Rest

LIMIT = 64


def framed(data: bytes, cuts: list[int] | None = None, limit: int = LIMIT) -> tuple[list[bytes], Framing]:
    framing, found, at = Framing(limit), [], 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]:
        if cut > at:
            found += framing.feed(data[at:cut])
            at = cut
    return found + framing.end(), framing


def test_counted_octets_keep_newlines() -> None:
    found, framing = framed(b"7 <13>a\nb5 <13>c\n4 <13>")
    assert found == [b"<13>a\nb", b"<13>c", b"<13>"]
    assert (framing.damaged, framing.split) == (0, 0)


def test_lines_and_nuls() -> None:
    assert framed(b"<13>a\r\n\n<13>b\n<13>c")[0] == [b"<13>a", b"<13>b", b"<13>c"]
    assert framed(b"<13>a\nb\0<13>c\0")[0] == [b"<13>a\nb", b"<13>c"]


def test_what_is_too_long_is_split_and_nothing_of_it_lost() -> None:
    text = b"<13>" + bytes(range(65, 91)) * 8
    for data in (text + b"\n<14>z\n", b"%d %s5 <14>z" % (len(text), text)):
        found, framing = framed(data)
        assert b"".join(found[:-1]) == text
        assert [type(one) for one in found] == [bytes, Rest, Rest, Rest, bytes]
        assert found[-1] == b"<14>z"
        assert framing.split == 1


def test_a_connection_that_loses_count_finds_it_again() -> None:
    found, framing = framed(b"5 <13>aHELLO there\n5 <13>b99999999999 x\n5 <13>c")
    assert found == [b"<13>a", b"HELLO there", b"<13>b", b"99999999999 x", b"<13>c"]
    assert framing.damaged == 2


def test_what_ends_with_the_connection_is_kept_and_counted() -> None:
    found, framing = framed(b"5 <13>a20 <13>brok")
    assert found == [b"<13>a", b"<13>brok"]
    assert framing.damaged == 1


@given(st.lists(st.binary(min_size=1, max_size=150)), st.lists(st.integers(0)))
def test_counted_messages_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(b"%d %s" % (len(one), one) for one in messages)
    joined: list[bytes] = []
    for one in framed(data, cuts)[0]:
        if isinstance(one, Rest):
            joined[-1] += one
        else:
            joined.append(one)
    assert joined == messages


@given(st.binary(max_size=400), st.lists(st.integers(0)))
def test_any_bytes_are_framed_within_the_limit(data: bytes, cuts: list[int]) -> None:
    found, _ = framed(data, cuts)
    assert all(0 < len(one) <= LIMIT for one in found)
    assert sum(map(len, found)) <= len(data)


@given(st.lists(st.binary(min_size=1, max_size=200).filter(lambda one: not set(one) & set(b"\r\n\0"))))
def test_lines_come_out_as_they_went_in(lines: list[bytes]) -> None:
    data = b"<" + b"\n<".join(lines)
    joined: list[bytes] = []
    for one in framed(data + b"\n")[0]:
        if isinstance(one, Rest):
            joined[-1] += one
        else:
            joined.append(one)
    assert b"\n".join(joined) == data
