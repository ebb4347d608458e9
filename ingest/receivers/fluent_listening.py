"""Fluent's forward protocol, as the `forward` outputs of Fluentd and Fluent Bit and fluent-logger speak it.

A message with a `chunk` is answered with `{"ack": chunk}` once its records are durable; sent again, it is stored once.
One without is gathered with others, as nobody waits for an answer.
"""

import asyncio
import hashlib
import hmac
import os
import socket

import msgpack
from fastapi import FastAPI

from ingest.errors import RequestRefused, SpoolFull
from ingest.gateway import GatewayState
from ingest.receivers.answers import count_refused
from ingest.receivers.batches import Batches
from ingest.receivers.body import Budget
from ingest.receivers.connections import Connection, Connections
from ingest.receivers.fluent import Forwarded, put, read
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.listeners import Stop
from ingest.receivers.listening import ReceiversConfig
from storage.errors import NeveError

NAME = "fluent"
MAX_MESSAGE_BYTES = 32 << 20
"""As sent."""
ASIDE_BYTES = 256 << 10
"""A larger message is looked at in a thread."""
RETRY_SECONDS = 1.0
PATIENCE = 30
"""Tries before a connection is closed, whose sender will send its chunk again."""
MESSAGE_COST = 512


class Stream:
    """Bytes of a connection in, whole messages out."""

    def __init__(self) -> None:
        self._walk = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE_BYTES + (1 << 20))
        self._kept = bytearray()
        self._start = 0  # where what is kept lies in the stream
        self._wrong: RequestRefused | None = None

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._kept)

    def check(self) -> None:
        """Raises RequestRefused where what came after the messages that `feed` gave is none."""
        if self._wrong is not None:
            raise self._wrong

    def feed(self, data: bytes) -> list[bytes]:
        """Raises RequestRefused for what is no MessagePack, or too large; where whole messages are before it,
        `check` does."""
        self.check()
        self._kept += data
        found = []
        try:
            self._walk.feed(data)
            while True:
                try:
                    self._walk.skip()
                except msgpack.OutOfData:
                    break
                size = self._walk.tell() - self._start
                found.append(bytes(self._kept[:size]))
                del self._kept[:size]
                self._start += size
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            message = f"cannot take fluent message: {error or 'it is no MessagePack'}"
            self._wrong = RequestRefused("bad_message", message, "check the sender's output")
            if not found:
                raise self._wrong from error
        if len(self._kept) > MAX_MESSAGE_BYTES:
            message = f"cannot take fluent message: it is larger than {MAX_MESSAGE_BYTES} bytes"
            raise RequestRefused("too_large", message, "set chunk_limit_size to 8m", 413)
        return found


class Room:
    """What a connection has of the bytes that all bodies may take together."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._held = budget, 0

    async def hold(self, size: int) -> None:
        """Have room for `size` bytes, waiting for it. Raises SpoolFull where that takes too long."""
        size = size if size > ASIDE_BYTES else 0
        for tries in range(PATIENCE):
            try:
                if size > self._held:
                    self._budget.take(size - self._held)
                else:
                    self._budget.give_back(self._held - size)
                self._held = size
                return
            except SpoolFull:
                if tries == PATIENCE - 1:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def leave(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0


class Fluent:
    """Speaks with those that connect."""

    def __init__(self, app: FastAPI) -> None:
        self._gateway: GatewayState = app.state.gateway
        self._lexers: Lexers = app.state.lexers
        self._budget: Budget = app.state.budget
        self._counters = self._gateway.counters
        self._namespace = self._gateway.settings.receivers.fluent_namespace
        self._secret = self._gateway.settings.receivers.fluent_shared_key.encode()
        self._host = socket.gethostname().encode()
        self._counters.add_all(
            dict.fromkeys(
                (f"requests_refused_{NAME}", f"{NAME}_odd_entries", f"requests_{NAME}", f"lines_{NAME}"), 0
            )
        )
        self.batches: Batches[tuple[Forwarded, bytes]] = Batches(
            self._gateway, self._lexers, NAME, self._namespace, self._put_unasked
        )

    async def converse(self, connection: Connection) -> None:
        """Until its end, or until it says what cannot be taken: that is counted, and said in the status."""
        room = Room(self._budget)
        try:
            stream = Stream()
            if self._secret:
                await self._shake_hands(connection, stream)
            while data := await connection.read():
                for raw in stream.feed(data):
                    connection.understood()
                    await room.hold(len(raw))
                    await self._take(connection, raw)
                stream.check()
                await room.hold(stream.waiting)
        except RequestRefused as error:
            self._refuse(error, connection.peer)
        except (ConnectionError, SpoolFull):
            return  # who waits for an answer sends it again
        finally:
            room.leave()

    async def _take(self, connection: Connection, raw: bytes) -> None:
        message = await asyncio.to_thread(read, raw) if len(raw) > ASIDE_BYTES else read(raw)
        if message is None:
            return
        if not message.chunk:
            await self.batches.add((message, connection.peer), len(raw) + MESSAGE_COST)
            return
        await self._store(message, raw, connection.peer)
        self._counters.well(_subject(connection.peer))
        connection.writer.write(msgpack.packb({b"ack": message.chunk}, use_bin_type=False))
        await connection.writer.drain()

    async def _store(self, message: Forwarded, raw: bytes, peer: bytes) -> None:
        """Until it is durable. Raises SpoolFull where it takes too long, RequestRefused."""
        taken: Taken | None = None
        key = request_key(None, bytearray(raw), NAME, self._namespace)
        for tries in range(PATIENCE):
            try:
                if taken is None:
                    self._gateway.spool.refuse_while_full()
                    await asyncio.to_thread(self._gateway.namespaces.check, self._namespace)
                    taken = await asyncio.to_thread(self._made, message, key, peer)
                await accept(self._gateway, taken, NAME)
                self._counters.well(f"receiver {NAME}")
                return
            except RequestRefused:
                raise
            except (NeveError, OSError, MemoryError) as error:
                said = error.message if isinstance(error, NeveError) else str(error) or "memory ran out"
                self._counters.trouble(f"receiver {NAME}", f"waits: {said}")
                if tries == PATIENCE - 1:
                    break
                await asyncio.sleep(error.retry_after if isinstance(error, SpoolFull) else RETRY_SECONDS)
        raise SpoolFull("busy", "cannot take fluent message: there was no room for long")

    def _made(self, message: Forwarded, key: bytes, peer: bytes) -> Taken:
        with self._lexers.borrow() as columns:
            intake = Intake(columns, self._namespace, key)
            self._counters.add(f"{NAME}_odd_entries", put(intake, message, peer))
            return intake.finish()

    def _put_unasked(self, intake: Intake, item: tuple[Forwarded, bytes]) -> None:
        try:
            self._counters.add(f"{NAME}_odd_entries", put(intake, *item))
        except RequestRefused as error:
            self._refuse(error, item[1])
        else:
            self._counters.well(_subject(item[1]))

    def _refuse(self, error: RequestRefused, peer: bytes) -> None:
        count_refused(self._gateway, NAME)
        self._counters.trouble(_subject(peer), error.message)

    async def _shake_hands(self, connection: Connection, stream: Stream) -> None:
        """Both show that they know the shared key. Raises RequestRefused, ConnectionError."""
        nonce = os.urandom(16)
        connection.writer.write(msgpack.packb(["HELO", {"nonce": nonce, "auth": b"", "keepalive": True}]))
        await connection.writer.drain()
        raw: list[bytes] = []
        while not raw:
            data = await connection.read()
            if not data:
                raise ConnectionError
            raw = stream.feed(data)
        salt = self._checked(raw[0], nonce)
        proof = self._proof(salt, self._host, nonce) if salt is not None else ""
        why = "" if salt is not None else "shared key mismatch"
        connection.writer.write(msgpack.packb(["PONG", salt is not None, why, self._host.decode(), proof]))
        await connection.writer.drain()
        if salt is None:
            raise RequestRefused(
                "unauthenticated", "cannot let fluent sender in: its shared key is another", "", 401
            )
        for one in raw[1:]:
            await self._take(connection, one)

    def _checked(self, raw: bytes, nonce: bytes) -> bytes | None:
        """The salt of a PING whose sender knows the key; else None."""
        try:
            ping = msgpack.unpackb(raw, raw=True, max_array_len=16, strict_map_key=False)
        except (ValueError, msgpack.exceptions.UnpackException):
            return None
        if not isinstance(ping, list) or len(ping) < 4 or ping[0] != b"PING":
            return None
        host, salt, shown = ping[1:4]
        if not all(isinstance(one, bytes) for one in (host, salt, shown)):
            return None
        wanted = self._proof(salt, host, nonce).encode()
        return salt if hmac.compare_digest(shown.lower(), wanted) else None

    def _proof(self, salt: bytes, host: bytes, nonce: bytes) -> str:
        return hashlib.sha512(salt + host + nonce + self._secret).hexdigest()


def _subject(peer: bytes) -> str:
    """Of what was refused of one sender, until something of it is taken again."""
    return f"receiver {NAME} from {peer.decode()}"


async def start(app: FastAPI, host: str, port: int) -> Stop:
    """Listen, with TLS where there is a certificate. Raises OSError where the address cannot be had, ConfigError."""
    config: ReceiversConfig = app.state.gateway.settings.receivers
    secure = config.fluent_certificate or config.fluent_key or config.fluent_client_ca
    context = config.context(NAME, NAME) if secure else None
    fluent = Fluent(app)
    connections = Connections(NAME, app.state.gateway.counters, fluent.converse)
    try:
        await connections.start(host, port, context)
    except OSError:
        await fluent.batches.stop()
        raise

    async def stop() -> None:
        await connections.stop()
        if left := await fluent.batches.stop():
            print(f"neve: receiver {NAME} lost {left} bytes: no room for them", flush=True)

    return stop
