"""A TCP proxy in front of the broker that cuts connections while requests are in flight."""

from __future__ import annotations

import random
import selectors
import socket
import struct
import threading
import time


class CuttingProxy:
    """Forwards a port of its own to `target`; cuts every `mean_bytes` or so, in either direction.

    A broker advertises its own address, so a client that is to stay behind the proxy needs a broker with
    `advertised.listeners` set to the proxy's port.
    """

    def __init__(self, port: int, target: int, mean_bytes: int, seed: int = 1):
        self.port, self.target, self.mean_bytes = port, target, mean_bytes
        self.random = random.Random(seed)
        self.cuts = 0
        self.cutting = True
        self.stopped = False
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join(5)

    def _budget(self) -> float:
        return self.random.expovariate(1 / self.mean_bytes) if self.cutting else float("inf")

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.listener, selectors.EVENT_READ)
        peers: dict[socket.socket, socket.socket] = {}
        budgets: dict[socket.socket, float] = {}

        def end(one: socket.socket, cut: bool) -> None:
            for side in (one, peers.pop(one, None)):
                if side is None:
                    continue
                peers.pop(side, None)
                budgets.pop(side, None)
                selector.unregister(side)
                if cut:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.close()

        while not self.stopped:
            for key, _ in selector.select(0.1):
                one = key.fileobj
                if one is self.listener:
                    front, _ = self.listener.accept()
                    try:
                        back = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                    except OSError:
                        front.close()
                        continue
                    for side, other in ((front, back), (back, front)):
                        side.settimeout(5)
                        peers[side], budgets[side] = other, self._budget()
                        selector.register(side, selectors.EVENT_READ)
                    continue
                if one not in peers:
                    continue
                try:
                    data = one.recv(1 << 16)
                    if not data:
                        end(one, cut=False)
                        continue
                    budgets[one] -= len(data)
                    if budgets[one] < 0 and self.cutting:
                        # Half of what there is still goes through: a frame is torn, or its answer lost.
                        peers[one].sendall(data[: len(data) // 2])
                        time.sleep(0.002)
                        self.cuts += 1
                        end(one, cut=True)
                    else:
                        peers[one].sendall(data)
                except OSError:
                    end(one, cut=True)
        for one in list(peers):
            end(one, cut=False)
        self.listener.close()
