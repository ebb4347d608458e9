"""A bad network: a TCP proxy that drops, delays and cuts what passes through it, by chance and by seed."""

import contextlib
import random
import socket
import threading
import time

PIECE = 16 << 10


class BadNetwork:
    """Listens on a port and passes each connection on to another one, or to one of several, with faults until `calm`
    is called."""

    def __init__(self, target: int, seed: int, *others: int) -> None:
        self.targets = (target, *others)
        self.chance = random.Random(seed)
        self.faults: list[str] = []  # that happened
        self._calm = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calm(self) -> None:
        """From now on everything passes."""
        self._calm.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        kinds = ["none", "refuse", "cut request", "cut answer", "lose answer", "stall", "half-close"]
        fault = "none" if self._calm.is_set() else self.chance.choice(kinds)
        self.faults.append(fault)
        target = self.chance.choice(self.targets)
        with client, contextlib.suppress(OSError):
            if fault == "refuse":
                return
            with socket.create_connection(("127.0.0.1", target)) as server:
                limit = self.chance.randrange(1, 60_000)
                answer = threading.Thread(target=self._answers, args=(server, client, fault), daemon=True)
                answer.start()
                self._requests(client, server, fault, limit)
                answer.join(1.0)

    def _requests(self, client: socket.socket, server: socket.socket, fault: str, limit: int) -> None:
        passed = 0
        while data := client.recv(PIECE):
            if fault == "stall":
                time.sleep(0.02)
            passed += len(data)
            if fault == "cut request" and passed >= limit:
                server.sendall(data[: max(0, len(data) - (passed - limit))])
                return
            server.sendall(data)
            if fault == "half-close":
                server.shutdown(socket.SHUT_WR)
                return

    def _answers(self, server: socket.socket, client: socket.socket, fault: str) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(PIECE):
                if fault == "lose answer":
                    client.shutdown(socket.SHUT_RDWR)  # the gateway has it, and the agent never hears
                    return
                client.sendall(data[: len(data) // 2] if fault == "cut answer" else data)
                if fault == "cut answer":
                    client.shutdown(socket.SHUT_RDWR)
                    return
