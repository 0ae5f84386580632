"""Requests to the coordinators by hand, on top of wire.py: what no client would say of groups and transactions."""

from __future__ import annotations

import struct
import time

from . import wire

NULL = b"\0"


def unsigned(value: int) -> bytes:
    out = bytearray()
    while value & ~0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def compact(value: str | None) -> bytes:
    if value is None:
        return NULL
    return unsigned(len(value.encode()) + 1) + value.encode()


class Reader:
    """Of the flexible answers: as much as is needed to get at error codes, epochs and assignments."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def take(self, form: str):
        value = struct.unpack_from(">" + form, self.data, self.position)
        self.position += struct.calcsize(">" + form)
        return value[0] if len(value) == 1 else value

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str | None:
        length = self.unsigned() - 1
        if length < 0:
            return None
        self.position += length
        return self.data[self.position - length : self.position].decode()


def find_coordinator(connection, key: str, kind: int, timeout: float = 20) -> None:
    """FindCoordinator 1, of a group (0) or a transactional id (1), until there is one: the first makes its topic."""
    deadline = time.monotonic() + timeout
    while True:
        answer = connection.ask(wire.header(10, 1) + wire.text(key) + struct.pack(">b", kind))
        if struct.unpack_from(">h", answer, 8)[0] == 0:
            return
        assert time.monotonic() < deadline, "there is no coordinator"
        time.sleep(0.02)


def wait_until_loaded(connection, timeout: float = 60) -> None:
    """After a restart, until groups are served again."""
    deadline = time.monotonic() + timeout
    while committed(connection, "any", "any", 0) in (-1014, -1015, -1016):
        assert time.monotonic() < deadline, "groups are not loaded"
        time.sleep(0.02)


def heartbeat(connection, group, member, epoch, *, topics=None, pattern=None, owned=None, assignor=None, instance=None):
    """ConsumerGroupHeartbeat 1: error code, member epoch, and the assigned partitions (None: as before)."""
    body = wire.header(68, 1, flexible=True) + compact(group) + compact(member) + struct.pack(">i", epoch)
    body += compact(instance) + NULL + struct.pack(">i", 60000)
    body += NULL if topics is None else unsigned(len(topics) + 1) + b"".join(compact(one) for one in topics)
    body += compact(pattern) + compact(assignor)
    if owned is None:
        body += NULL
    else:
        body += unsigned(len(owned) + 1)
        for topic_id, partitions in owned.items():
            body += topic_id + unsigned(len(partitions) + 1) + struct.pack(f">{len(partitions)}i", *partitions) + b"\0"
    answer = Reader(connection.ask(body + b"\0"))
    answer.take("i"), answer.unsigned(), answer.take("i")
    error = answer.take("h")
    answer.text(), answer.text()
    new_epoch, _ = answer.take("ii")
    if answer.take("b") < 0:
        return error, new_epoch, None
    assigned = {}
    for _ in range(answer.unsigned() - 1):
        topic_id = bytes(answer.take("16s"))
        assigned[topic_id] = [answer.take("i") for _ in range(answer.unsigned() - 1)]
        answer.unsigned()
    return error, new_epoch, assigned


def join(connection, group, *, version=0, session=10000, member="", client="wire", protocol="range"):
    """JoinGroup 0 or 1, sent only: the answer may wait for other members."""
    body = wire.header(11, version, client=client) + wire.text(group) + struct.pack(">i", session)
    if version >= 1:
        body += struct.pack(">i", session)
    body += wire.text(member) + wire.text("consumer") + struct.pack(">i", 1) + wire.text(protocol)
    connection.send(wire.framed(body + struct.pack(">i", 0)))


def join_answer(connection) -> tuple[int, int, str]:
    """Error code, generation and member id of JoinGroup 0 or 1."""
    answer = connection.answer()
    error, generation, length = struct.unpack_from(">hih", answer, 4)
    position = 4 + 2 + 4 + 2 + length
    (length,) = struct.unpack_from(">h", answer, position)
    position += 2 + length
    (length,) = struct.unpack_from(">h", answer, position)
    return error, generation, answer[position + 2 : position + 2 + length].decode()


def commit(connection, group, topic, partition, offset, *, generation=-1, member="", metadata="") -> int:
    """OffsetCommit 9, the first in which members of consumer groups may commit: the error code."""
    body = wire.header(8, 9, flexible=True) + compact(group) + struct.pack(">i", generation) + compact(member)
    body += compact(None) + unsigned(2) + compact(topic) + unsigned(2) + struct.pack(">iqi", partition, offset, -1)
    answer = Reader(connection.ask(body + compact(metadata) + b"\0\0\0"))
    answer.take("i"), answer.unsigned(), answer.take("i")
    answer.unsigned(), answer.text(), answer.unsigned(), answer.take("i")
    return answer.take("h")


def committed(connection, group, topic, partition) -> int:
    """OffsetFetch 1: the offset, -1 for none, or -1000 - error."""
    body = wire.header(9, 1) + wire.text(group) + struct.pack(">i", 1) + wire.text(topic)
    answer = connection.ask(body + struct.pack(">ii", 1, partition))
    _, offset, length = struct.unpack_from(">iqh", answer, 4 + 4 + 2 + len(topic.encode()) + 4)
    error = struct.unpack_from(">h", answer, len(answer) - 2)[0]
    return -1000 - error if error else offset


def add_partition(connection, transactional_id, producer, epoch, topic, partition) -> int:
    """AddPartitionsToTxn 0: the error code."""
    body = wire.header(24, 0) + wire.text(transactional_id) + struct.pack(">qhi", producer, epoch, 1)
    body += wire.text(topic) + struct.pack(">ii", 1, partition)
    return struct.unpack(">h", connection.ask(body)[-2:])[0]


def end(connection, transactional_id, producer, epoch, commits: bool) -> int:
    """EndTxn 0: the error code."""
    body = wire.header(26, 0) + wire.text(transactional_id) + struct.pack(">qhb", producer, epoch, commits)
    return struct.unpack(">h", connection.ask(body)[-2:])[0]


def marker(connection, producer, epoch, topic, partition, *, commits=False, coordinator=0, version=2) -> int:
    """WriteTxnMarkers 2: the error code of the one partition."""
    body = wire.header(27, 2, flexible=True) + unsigned(2) + struct.pack(">qhb", producer, epoch, commits)
    body += unsigned(2) + compact(topic) + unsigned(2) + struct.pack(">i", partition) + b"\0"
    body += struct.pack(">ib", coordinator, version) + b"\0\0"
    answer = Reader(connection.ask(body))
    answer.take("i"), answer.unsigned()
    answer.unsigned(), answer.take("q"), answer.unsigned(), answer.text(), answer.unsigned(), answer.take("i")
    return answer.take("h")
