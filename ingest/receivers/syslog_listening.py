"""Syslog over TCP, TLS (RFC 5425) and UDP (RFC 5426).

Nobody is answered in syslog: what was read is stored within BATCH_SECONDS, and while the spool is full connections are
not read. UDP cannot wait; what has no room is counted.
"""

import ssl
import time
from collections.abc import Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import FastAPI

from ingest.gateway import GatewayState
from ingest.receivers.batches import Batches
from ingest.receivers.connections import Connection, Connections
from ingest.receivers.intake import Intake
from ingest.receivers.listeners import Stop
from ingest.receivers.listening import ReceiversConfig
from ingest.receivers.syslog import Message, Shift, parse, shift_of
from ingest.receivers.syslog_framing import Framing, Rest
from ingest.receivers.syslog_udp import Datagrams, udp_socket
from lexer import Carry
from storage.errors import ConfigError

COUNTED = ("unparsed", "split", "damaged")
MESSAGE_COST = 64
"""Bytes of memory that a message takes beside its text."""


class Sender:
    """Where messages come from, in order. `last` is what its last one said, for pieces that go on with it; `carry` what
    the lexer has to know of those before, as that a private key goes on."""

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.carry = Carry()
        self.last = Message(b"", understood=False)


Item = tuple[Sender, Sequence[bytes]]


class Syslog:
    """What the listeners share: messages in, batches out."""

    def __init__(self, app: FastAPI, name: str) -> None:
        """Raises ConfigError."""
        gateway: GatewayState = app.state.gateway
        self.config: ReceiversConfig = gateway.settings.receivers
        self.name, self.counters = name, gateway.counters
        self._shift = zone_shift(self.config.syslog_timezone)
        self.counters.add_all({f"{name}_{what}": 0 for what in COUNTED})
        self.counters.add_all({f"requests_{name}": 0, f"lines_{name}": 0})
        self.batches: Batches[Item] = Batches(
            gateway, app.state.lexers, name, self.config.syslog_namespace, self._put
        )

    async def converse(self, connection: Connection) -> None:
        """Read a connection to its end."""
        framing, sender = Framing(self.config.syslog_max_message_bytes), Sender(connection.peer)
        while data := await connection.read():
            messages = framing.feed(data)
            if messages:
                connection.understood()
            self._count(framing)
            await self._take(sender, messages, len(data))
        await self._take(sender, framing.end(), 0)
        self._count(framing)

    async def stop(self) -> None:
        """Store what was read."""
        if left := await self.batches.stop():
            self.counters.trouble(f"receiver {self.name}", f"lost {left} bytes at the end")
            print(f"neve: receiver {self.name} lost {left} bytes: no room for them", flush=True)

    def _count(self, framing: Framing) -> None:
        if framing.damaged or framing.split:
            self.counters.add(f"{self.name}_damaged", framing.damaged)
            self.counters.add(f"{self.name}_split", framing.split)
            framing.damaged = framing.split = 0

    async def _take(self, sender: Sender, messages: list[bytes], size: int) -> None:
        if messages:
            await self.batches.add((sender, messages), size + MESSAGE_COST * len(messages))

    def _put(self, intake: Intake, item: Item) -> None:
        self.counters.add(f"{self.name}_unparsed", put(intake, *item, self._shift))


def put(intake: Intake, sender: Sender, messages: Sequence[bytes], shift: Shift) -> int:
    """Take a sender's messages; how many of them had no header that could be read."""
    received, unparsed = time.time_ns(), 0
    for data in messages:
        if type(data) is Rest:
            message = sender.last._replace(text=bytes(data), format="message")
        else:
            message = sender.last = parse(data, received, shift)
            unparsed += not message.understood
        intake.record(
            message.text,
            format=message.format,
            level=message.level,
            service=message.service,
            host=message.host or sender.peer,
            tags=message.tags,
            timestamp_ns=message.timestamp_ns,
            carry=sender.carry,
        )
    return unparsed


def zone_shift(name: str) -> Shift:
    """For times without a zone. Raises ConfigError."""
    try:
        return shift_of(ZoneInfo(name) if name else None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"cannot use receivers.syslog_timezone: {name!r}", "give one as Europe/Berlin, or none"
        ) from None


async def start_tcp(app: FastAPI, host: str, port: int) -> Stop:
    """Listen. Raises OSError where the address cannot be had."""
    return await _start(Syslog(app, "syslog_tcp"), host, port, None)


async def start_tls(app: FastAPI, host: str, port: int) -> Stop:
    """Listen with TLS. Raises OSError where the address cannot be had, ConfigError."""
    context = app.state.gateway.settings.receivers.context("syslog", "syslog_tls")
    return await _start(Syslog(app, "syslog_tls"), host, port, context)


async def _start(syslog: Syslog, host: str, port: int, context: ssl.SSLContext | None) -> Stop:
    config = syslog.config
    connections = Connections(
        syslog.name,
        syslog.counters,
        syslog.converse,
        most=config.syslog_max_connections,
        idle_seconds=config.syslog_idle_seconds,
    )
    try:
        await connections.start(host, port, context)
    except OSError:
        await syslog.stop()
        raise

    async def stop() -> None:
        await connections.stop()
        await syslog.stop()

    return stop


async def start_udp(app: FastAPI, host: str, port: int) -> Stop:
    """Listen. Raises OSError where the address cannot be had."""
    sock = udp_socket(host, port)
    syslog = Syslog(app, "syslog_udp")
    senders: dict[bytes, Sender] = {}

    def take(peer: bytes, datagrams: list[bytes], size: int) -> bool:
        sender = senders.get(peer)
        if sender is None:
            if len(senders) >= syslog.config.syslog_max_connections:
                senders.clear()  # they only save making them anew
            sender = senders[peer] = Sender(peer)
        return syslog.batches.offer((sender, datagrams), size + MESSAGE_COST * len(datagrams))

    listening = Datagrams(sock, syslog.name, syslog.counters, take)

    async def stop() -> None:
        listening.stop()
        await syslog.stop()

    return stop
