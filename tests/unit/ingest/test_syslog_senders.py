"""Messages of several senders, as they are gathered into batches."""

from ingest.receivers.intake import Intake
from ingest.receivers.syslog_listening import Sender, put
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
