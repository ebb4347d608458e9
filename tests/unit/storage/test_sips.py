"""A sender goes on while nobody reads what it sent."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.sips import Sips


def over(peer: socket.socket, **options: float) -> Sips:
    return Sips(peer.recv, lambda: peer.shutdown(socket.SHUT_RDWR), **options)  # type: ignore[arg-type]


def test_a_sender_gets_rid_of_all_while_nobody_reads() -> None:
    sent = b"n\xc3\xa9v\xc3\xa9 " * 1_000_000  # more than the buffers of two sockets
    sender, receiver = socket.socketpair()
    with sender, receiver, over(receiver, seconds=0.001) as stream:
        done = threading.Event()

        def send() -> None:
            sender.sendall(sent)
            sender.shutdown(socket.SHUT_WR)
            done.set()

        threading.Thread(target=send, daemon=True).start()
        done.wait()  # nothing was read yet
        assert stream.read() == sent
        assert stream.read(1) == b""


def test_without_need_it_reads_a_few_pieces_ahead() -> None:
    asked: list[int] = []
    enough = threading.Event()

    def read(size: int) -> bytes:
        asked.append(size)
        if len(asked) == 2:
            enough.set()
        return b"x" * size

    with Sips(read, lambda: None, piece=10, ahead=2, seconds=3600) as stream:
        enough.wait()
        assert stream.read(15) in (b"x" * 10, b"x" * 15)
        assert len(asked) <= 4


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 60))
def test_what_is_read_is_what_was_sent(pieces: list[bytes], size: int) -> None:
    waiting = [*pieces, b""]
    with Sips(lambda _: waiting.pop(0), lambda: None) as stream:
        found = b"".join(iter(lambda: stream.read(size) or b"", b""))
    assert found == b"".join(pieces)


def test_what_breaks_a_stream_is_raised_after_what_came_before() -> None:
    def read(_: int) -> bytes:
        if given_ := came:
            return given_.pop()
        raise ConnectionResetError("gone")

    came = [b"first"]
    with Sips(read, lambda: None) as stream:
        assert stream.read(5) == b"first"
        with pytest.raises(ConnectionResetError, match="gone"):
            stream.read(5)


def test_closing_ends_a_read_that_waits() -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        over(receiver).close()
