"""Content encodings: whole, and within their bound."""

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import RequestRefused
from ingest.receivers.encodings import MAX_MEMBERS, decode


def bare(plain: bytes) -> bytes:
    """Deflate as some senders have it: without zlib's header."""
    return zlib.compress(plain, wbits=-zlib.MAX_WBITS)


PACK = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "deflate": zlib.compress,
    "": bytes,
    "identity": bytes,
}


@pytest.mark.parametrize("encoding", PACK)
@given(plain=st.binary(max_size=5000))
def test_round_trip(encoding: str, plain: bytes) -> None:
    assert decode(PACK[encoding](plain), encoding, 5000) == plain


@given(plain=st.binary(max_size=5000))
def test_deflate_without_a_header(plain: bytes) -> None:
    assert decode(bare(plain), "deflate", 5000) == plain


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_that_follow_one_another_are_one_body(encoding: str) -> None:
    pack = PACK[encoding]
    assert decode(pack(b"one\n") + pack(b"two\n"), encoding, 100) == b"one\ntwo\n"


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_small_body_does_not_become_a_large_one(encoding: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        decode(PACK[encoding](b"\0" * 10_000_000), encoding, 1_000_000)
    assert caught.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
@pytest.mark.parametrize(
    "damage", [lambda body: body[:-5], lambda body: b"nonsense" + body, lambda _body: b"x"]
)
def test_damaged_body_is_refused(encoding: str, damage: object) -> None:
    assert callable(damage)
    with pytest.raises(RequestRefused) as caught:
        decode(damage(PACK[encoding](b"lines\n" * 100)), encoding, 10_000)
    assert caught.value.status == 400


def test_unknown_encoding_is_refused() -> None:
    with pytest.raises(RequestRefused) as caught:
        decode(b"", "br", 100)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    "packed", [gzip.compress(b"", mtime=0), zstandard.compress(b"")], ids=["gzip", "zstd"]
)
def test_very_many_empty_parts_are_refused(packed: bytes) -> None:
    """Each takes as long to begin as any: a body of them alone would keep a lexer for minutes."""
    name = "gzip" if packed[:2] == b"\x1f\x8b" else "zstd"
    assert decode(packed * 1000, name, 10) == b""
    with pytest.raises(RequestRefused, match="too many parts"):
        decode(packed * (MAX_MEMBERS + 1), name, 10)
