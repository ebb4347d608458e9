"""Messages of several senders, as they are gathered into batches."""

import asyncio
import socket

from ingest.counters import Counters
from ingest.receivers.intake import Intake
from ingest.receivers.syslog_listening import Sender, put
from ingest.receivers.syslog_udp import Datagrams, udp_socket
from lexer import Columns
from lexer.redaction import RedactionConfig
from storage.native.block import SealedBlock
from storage.native.columns import BlockColumns

HEADER = b"<13>1 2026-01-02T03:04:05Z host app - - - "
MASKED = b"<redacted:private-key>"


def taken(*sent: tuple[Sender, bytes]) -> list[bytes]:
    """The messages of one batch, as they are stored."""
    columns = Columns(max_rows=100, redaction=RedactionConfig(("all",)).policy())
    intake = Intake(columns, "default", b"k" * 16)
    for sender, line in sent:
        assert put(intake, sender, [HEADER + line], lambda ns: ns) == 0
    [(_, data)] = intake.finish().blocks
    found: list[bytes] = BlockColumns(SealedBlock.parse(data)).column("message").to_pylist()
    return found


def test_a_private_key_is_its_senders_over_batches_and_nobody_elses() -> None:
    one, other = Sender(b"10.0.0.1"), Sender(b"10.0.0.2")
    assert taken((one, b"-----BEGIN PRIVATE KEY-----"), (other, b"shutdown"), (one, b"bm90IGEga2V5")) == [
        MASKED, b"shutdown", MASKED,
    ]  # fmt: skip
    assert taken((one, b"dG9vIHNob3J0"), (other, b"shutdown"), (one, b"-----END PRIVATE KEY-----")) == [
        MASKED, b"shutdown", MASKED,
    ]  # fmt: skip
    assert taken((one, b"shutdown")) == [b"shutdown"]


def test_a_datagram_without_anything_in_it_is_no_message() -> None:
    async def heard() -> list[bytes]:
        found: list[bytes] = []
        last = asyncio.Event()

        def take(_peer: bytes, datagrams: list[bytes], _size: int) -> bool:
            found.extend(datagrams)
            if b"<13>last" in datagrams:
                last.set()
            return True

        sock = udp_socket("127.0.0.1", 0)
        datagrams = Datagrams(sock, "syslog_udp", Counters(), take)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"<13>first\n", b"", b"\r\n", b"\0", b"<13>last"):
                sender.sendto(data, sock.getsockname())
            await last.wait()
        datagrams.stop()
        return found

    assert asyncio.run(heard()) == [b"<13>first\n", b"<13>last"]
