"""Just enough of Kafka's protocol, by hand, to say things that no client would."""

from __future__ import annotations

import socket
import struct
import time

import crc32c

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 0, 1, 2, 3, 18
CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = 19, 20, 22

UNSUPPORTED_VERSION = 35


class Closed(OSError):
    """The other side closed the connection."""


def text(value: str | None) -> bytes:
    if value is None:
        return b"\xff\xff"
    return struct.pack(">h", len(value.encode())) + value.encode()


def header(key: int, version: int, correlation: int = 1, client: str | None = "wire", flexible: bool = False) -> bytes:
    return struct.pack(">hhi", key, version, correlation) + text(client) + (b"\0" if flexible else b"")


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


class Connection:
    """A plain socket to the broker on this machine."""

    def __init__(self, port: int, timeout: float = 10, receive_buffer: int | None = None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes it with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise Closed("closed by the broker")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def answer(self) -> bytes:
        """The next answer, without its length."""
        (length,) = struct.unpack(">i", self.exactly(4))
        return self.exactly(length)

    def ask(self, body: bytes) -> bytes:
        self.send(framed(body))
        return self.answer()

    def closed_within(self, seconds: float) -> bool:
        """Whether the broker closes it, reading and dropping what it still says."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(1 << 16):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    # ----------------------------------------------------------------------------- requests

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """ApiVersions 0: the versions of each API."""
        answer = self.ask(header(API_VERSIONS, 0))
        correlation, error, count = struct.unpack_from(">ihi", answer)
        assert (correlation, error) == (1, 0)
        found = [struct.unpack_from(">hhh", answer, 10 + 6 * i) for i in range(count)]
        assert len(answer) == 10 + 6 * count
        return {key: (low, high) for key, low, high in found}

    def create_topic(self, name: str, partitions: int = 1, configs: dict | None = None) -> int:
        """CreateTopics 2: the error code."""
        body = struct.pack(">i", 1) + text(name) + struct.pack(">ihi", partitions, 1, 0)
        body += struct.pack(">i", len(configs or {}))
        for key, value in (configs or {}).items():
            body += text(key) + text(value)
        body += struct.pack(">ib", 30000, 0)
        answer = self.ask(header(CREATE_TOPICS, 2) + body)
        position = 4 + 4 + 4
        (length,) = struct.unpack_from(">h", answer, position)
        return struct.unpack_from(">h", answer, position + 2 + length)[0]

    def delete_topic(self, name: str) -> int:
        """DeleteTopics 1: the error code."""
        body = struct.pack(">i", 1) + text(name) + struct.pack(">i", 30000)
        answer = self.ask(header(DELETE_TOPICS, 1) + body)
        return struct.unpack_from(">h", answer, len(answer) - 2)[0]

    def produce(self, topic: str, partition: int, records: bytes, acks: int = -1, version: int = 7) -> tuple[int, int]:
        """Produce 3 to 7 (8 has more in its answer): error code and base offset."""
        self.send(framed(produce_request(topic, partition, records, acks, version)))
        return produce_answer(self.answer(), topic)

    def init_producer_id(self, transactional_id: str | None = None) -> tuple[int, int, int]:
        """InitProducerId 0: error code, producer id and epoch."""
        answer = self.ask(header(INIT_PRODUCER_ID, 0) + text(transactional_id) + struct.pack(">i", 60000))
        return struct.unpack_from(">hqh", answer, 8)

    def fetch(self, topic: str, partition: int, offset: int, *, min_bytes=1, max_wait=500, max_bytes=1 << 20):
        """Fetch 4: error code, high watermark, record bytes."""
        body = struct.pack(">iiiib", -1, max_wait, min_bytes, max_bytes, 0)
        body += struct.pack(">i", 1) + text(topic) + struct.pack(">i", 1)
        body += struct.pack(">iqi", partition, offset, max_bytes)
        answer = self.ask(header(FETCH, 4) + body)
        position = 4 + 4 + 4 + 2 + len(topic.encode()) + 4
        _, error, high, _, aborted = struct.unpack_from(">ihqqi", answer, position)
        position += 4 + 2 + 8 + 8 + 4 + max(0, aborted) * 16
        (length,) = struct.unpack_from(">i", answer, position)
        return error, high, answer[position + 4 : position + 4 + max(0, length)]

    def end_offset(self, topic: str, partition: int, timestamp: int = -1) -> int:
        """ListOffsets 1: the offset, or -1000 - error."""
        body = struct.pack(">i", -1) + struct.pack(">i", 1) + text(topic) + struct.pack(">iiq", 1, partition, timestamp)
        answer = self.ask(header(LIST_OFFSETS, 1) + body)
        _, error, _, offset = struct.unpack_from(">ihqq", answer, 4 + 4 + 2 + len(topic.encode()) + 4)
        return -1000 - error if error else offset


def produce_request(topic, partition, records, acks=-1, version=7, correlation=1) -> bytes:
    body = text(None) + struct.pack(">hi", acks, 10000) + struct.pack(">i", 1) + text(topic)
    body += struct.pack(">ii", 1, partition) + struct.pack(">i", len(records)) + records
    return header(PRODUCE, version, correlation) + body


def produce_answer(answer: bytes, topic: str) -> tuple[int, int]:
    _, error, offset = struct.unpack_from(">ihq", answer, 4 + 4 + 2 + len(topic.encode()) + 4)
    return error, offset


# ------------------------------------------------------------------------------------------- records


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value & ~0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(delta: int, value: bytes, key: bytes | None = None) -> bytes:
    body = b"\0" + varint(0) + varint(delta)
    body += varint(-1) if key is None else varint(len(key)) + key
    body += varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(
    values: list[bytes],
    *,
    attributes: int = 0,
    producer: int = -1,
    epoch: int = -1,
    sequence: int = -1,
    timestamp: int | None = None,
    payload: bytes | None = None,
    magic: int = 2,
    crc: int | None = None,
    count: int | None = None,
    last_delta: int | None = None,
    key: bytes | None = None,
) -> bytes:
    """A record batch of magic 2; what is given by hand overrides what would be right."""
    now = int(time.time() * 1000) if timestamp is None else timestamp
    n = len(values) if count is None else count
    last = len(values) - 1 if last_delta is None else last_delta
    after_crc = struct.pack(">hiqqqhii", attributes, last, now, now, producer, epoch, sequence, n)
    if payload is None:
        payload = b"".join(record(i, value, key) for i, value in enumerate(values))
    after_crc += payload
    right = crc32c.crc32c(after_crc)
    after_length = struct.pack(">ibI", -1, magic, right if crc is None else crc) + after_crc
    return struct.pack(">qi", 0, len(after_length)) + after_length
