"""Input that no client sends: the broker answers Kafka's error or closes, lives, and others notice nothing."""

import contextlib
import random
import socket
import struct
import time

import pytest

from support import honest, wire
from support.clients import CLIENTS, Record

BROKER_OVERRIDES = {"socket.request.max.bytes": 104_857_600, "connections.max.idle.ms": 600_000}


@pytest.fixture(autouse=True)
def _others_notice_nothing(broker, topic, request):
    """After each test an ordinary client works, and memory is what it was or little more."""
    before = broker.resident_mb()
    yield
    one = CLIENTS["confluent-kafka"](broker.address)
    began = time.monotonic()
    one.produce(f"after-{topic}", [Record(value=b"%d" % i) for i in range(100)])
    assert len(one.consume(f"after-{topic}", 100)) == 100
    assert time.monotonic() - began < 10
    assert broker.resident_mb() < before + 100, "memory did not come back"


def busy(broker, topic, worst=3.0):
    """An honest client that writes and reads all the time."""

    def turns(connection):
        connection.create_topic(topic)
        offset = 0
        while True:
            yield
            assert connection.produce(topic, 0, wire.batch([b"x" * 100])) == (0, offset)
            assert connection.fetch(topic, 0, offset, max_wait=100)[0] == 0
            offset += 1

    return honest.at_work(broker, turns, worst)


def closes(broker, data: bytes, seconds=5.0) -> bool:
    with wire.Connection(broker.port) as connection:
        with contextlib.suppress(OSError):
            connection.send(data)
        return connection.closed_within(seconds)


# ------------------------------------------------------------------------------------ lengths


@pytest.mark.parametrize("length", [-1, -2147483648, 2147483647, 104_857_601])
def test_lengths_out_of_range_close(broker, length):
    assert closes(broker, struct.pack(">i", length) + b"\0" * 100)


def test_a_frame_of_nothing(broker):
    assert closes(broker, wire.framed(b""))
    assert closes(broker, wire.framed(b"\0"))
    assert closes(broker, wire.framed(struct.pack(">hh", 18, 0)))


def test_http_and_tls(broker):
    assert closes(broker, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert closes(broker, bytes.fromhex("1603010200010001fc0303") + bytes(500))


def test_garbage(broker):
    seeded = random.Random(3)
    with busy(broker, "during-garbage"):
        for _ in range(200):
            with wire.Connection(broker.port) as connection:
                with contextlib.suppress(OSError):
                    connection.send(wire.framed(seeded.randbytes(seeded.randrange(1, 3000))))
                    if seeded.random() < 0.5:
                        connection.reset()


def test_damaged_requests(broker):
    """Every API with a body of noise, and good requests with one byte changed."""
    seeded = random.Random(4)
    with wire.Connection(broker.port) as connection:
        versions = connection.api_versions()
    good = wire.produce_request("damaged", 0, wire.batch([b"some", b"records"]), version=7)
    with busy(broker, "during-damage"):
        for key, (low, high) in versions.items():
            for version in {low, high}:
                for size in (0, 1, 7, 40, 400):
                    body = wire.header(key, version, flexible=False) + seeded.randbytes(size)
                    with wire.Connection(broker.port) as connection, contextlib.suppress(OSError):
                        connection.send(wire.framed(body))
                        connection.socket.settimeout(0.02)
                        connection.socket.recv(1000)
        for position in range(0, len(good), 2):
            damaged = bytearray(good)
            damaged[position] ^= seeded.randrange(1, 256)
            with wire.Connection(broker.port) as connection, contextlib.suppress(OSError):
                connection.send(wire.framed(bytes(damaged)))
                connection.socket.settimeout(0.02)
                connection.socket.recv(1000)


def test_counts_that_promise_too_much(broker):
    """A count of two thousand million in a request of a few bytes."""
    huge = struct.pack(">i", 2**31 - 1)
    compact = b"\xff\xff\xff\xff\x0f"
    bodies = [
        wire.header(wire.METADATA, 1) + huge,
        wire.header(wire.METADATA, 12, flexible=True) + compact,
        wire.header(wire.PRODUCE, 7) + wire.text(None) + struct.pack(">hi", -1, 1000) + huge,
        wire.header(wire.FETCH, 4) + struct.pack(">iiiib", -1, 0, 0, 0, 0) + huge,
        wire.header(wire.LIST_OFFSETS, 1) + struct.pack(">i", -1) + huge,
        wire.header(wire.CREATE_TOPICS, 2) + huge,
        wire.header(9, 1) + wire.text("group") + huge,
        wire.header(11, 0) + wire.text("group") + struct.pack(">i", 6000) + wire.text("") + wire.text("c") + huge,
    ]
    for body in bodies:
        assert closes(broker, wire.framed(body)), body[:4]


# ------------------------------------------------------------------------------------ versions


def test_an_unknown_version_of_api_versions_is_answered(broker):
    """Error 35 in version 0 form, with the versions of ApiVersions itself at least, and the connection goes on."""
    with wire.Connection(broker.port) as connection:
        for version in (99, 5, 32767, -1):
            body = struct.pack(">hhi", wire.API_VERSIONS, version, 7) + wire.text("new") + b"\0" + b"\x05java\x044.9\0"
            answer = connection.ask(body)
            correlation, error, count = struct.unpack_from(">ihi", answer)
            assert (correlation, error) == (7, wire.UNSUPPORTED_VERSION)
            found = dict(
                (key, (low, high))
                for key, low, high in (struct.unpack_from(">hhh", answer, 10 + 6 * i) for i in range(count))
            )
            assert found[wire.API_VERSIONS] == (0, 4)
            assert len(answer) == 10 + 6 * count
        assert connection.api_versions()


@pytest.mark.parametrize("key", [-1, 999, 32767, 4, 52])
def test_unknown_apis_close(broker, key):
    assert closes(broker, wire.framed(wire.header(key, 0) + b"\0" * 8))


@pytest.mark.parametrize(("key", "version"), [(0, 99), (0, -1), (0, 2), (1, 3), (3, 14), (19, 1)])
def test_unsupported_versions_close(broker, key, version):
    assert closes(broker, wire.framed(wire.header(key, version) + b"\0" * 40))


# ------------------------------------------------------------------------------------ records


@pytest.mark.parametrize(
    ("what", "records", "expected"),
    [
        ("nothing", b"", 87),
        ("magic 1", wire.batch([b"x"], magic=1), 87),
        ("magic 3", wire.batch([b"x"], magic=3), 87),
        ("two batches", wire.batch([b"x"]) * 2, 87),
        ("wrong CRC", wire.batch([b"x"], crc=1), 2),
        ("count too high", wire.batch([b"x"], count=2, last_delta=1), 87),
        ("count too low", wire.batch([b"x", b"y"], count=1, last_delta=0), 87),
        ("count of thousand millions", wire.batch([b"x"], count=2**31 - 1, last_delta=2**31 - 2), 87),
        ("negative count", wire.batch([b"x"], count=-1), 87),
        ("last delta", wire.batch([b"x", b"y"], last_delta=5), 87),
        ("control", wire.batch([b"\0\0\0\1"], attributes=32), 87),
        ("codec 7", wire.batch([b"x"], attributes=7), None),
        ("not gzip", wire.batch([b"x"], attributes=1), None),
        ("not snappy", wire.batch([b"x"], attributes=2, payload=b"\xff" * 40), None),
        ("not lz4", wire.batch([b"x"], attributes=3, payload=b"\x04\x22\x4d\x18" + b"\xff" * 40), None),
        ("zstd in Produce 6", wire.batch([b"x"], attributes=4), 76),
        ("torn record", wire.batch([b"x"], payload=wire.record(0, b"x" * 50)[:20]), None),
        ("varint without end", wire.batch([b"x"], payload=b"\xff" * 20), None),
        ("half a header", wire.batch([b"x"])[:40], None),
        ("length beyond the end", wire.batch([b"x"])[:8] + struct.pack(">i", 5000) + wire.batch([b"x"])[12:], None),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_bad_batches(broker, topic, what, records, expected):
    """Refused with Kafka's code (any, where several would do) and nothing is stored."""
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        error, _ = connection.produce(topic, 0, records, version=6 if "zstd" in what else 7)
        assert error != 0
        if expected is not None:
            assert error == expected
        assert connection.end_offset(topic, 0) == 0
        assert connection.produce(topic, 0, wire.batch([b"good"])) == (0, 0)


def test_a_batch_that_unpacks_to_gigabytes(broker, topic):
    import gzip
    import zlib

    import zstandard

    bombs = [
        wire.batch([b"x"], attributes=1, payload=gzip.compress(b"\0" * 300_000_000, 9, mtime=0)),
        wire.batch([b"x"], attributes=4, payload=zstandard.compress(b"\0" * 900_000_000)),
    ]
    assert zlib.crc32(b"") == 0
    with busy(broker, f"{topic}-busy"), wire.Connection(broker.port, timeout=30) as connection:
        connection.create_topic(topic)
        for bomb in bombs:
            assert connection.produce(topic, 0, bomb)[0] != 0
    assert broker.peak_mb() < 700


def test_empty_batches_over_the_limit(broker, topic):
    """A batch over max.message.bytes: MESSAGE_TOO_LARGE."""
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        assert connection.produce(topic, 0, wire.batch([b"x" * 1_100_000]))[0] == 10
        assert connection.end_offset(topic, 0) == 0


# ------------------------------------------------------------------------------------ slowness


def test_a_frame_one_byte_at_a_time(broker, topic):
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        for byte in wire.framed(wire.produce_request(topic, 0, wire.batch([b"slowly"]))):
            connection.send(bytes([byte]))
        assert wire.produce_answer(connection.answer(), topic) == (0, 0)
        for byte in wire.framed(wire.header(wire.API_VERSIONS, 0)) * 3:
            connection.send(bytes([byte]))
            time.sleep(0.0005)
        for _ in range(3):
            assert connection.answer()[4:6] == b"\0\0"


def test_truncated_frames_and_half_open_connections(broker):
    """Half of a request and then the end of sending, a reset, or silence."""
    request = wire.framed(wire.produce_request("truncated", 0, wire.batch([b"x" * 500])))
    with busy(broker, "during-truncated"):
        silent = []
        for cut in range(1, len(request), 5):
            connection = wire.Connection(broker.port)
            connection.send(request[:cut])
            if cut % 3 == 0:
                connection.socket.shutdown(socket.SHUT_WR)
                assert connection.closed_within(5)
                connection.close()
            elif cut % 3 == 1:
                connection.reset()
            else:
                silent.append(connection)
        time.sleep(0.5)
        for connection in silent:
            connection.close()


def test_the_end_of_sending_does_not_lose_the_answer(broker):
    """A client that sends a request and closes its own side, as `nc` does, still gets its answer."""
    with wire.Connection(broker.port) as connection:
        connection.send(wire.framed(wire.header(wire.API_VERSIONS, 0)))
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.answer()[4:6] == b"\0\0"


def test_a_slow_reader(broker, topic):
    """It asks for a gigabyte and reads none: the broker does not buffer it."""
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        for _ in range(20):
            connection.produce(topic, 0, wire.batch([b"x" * 900_000]))
    before = broker.resident_mb()
    body = struct.pack(">iiiib", -1, 0, 1, 20_000_000, 0) + struct.pack(">i", 1) + wire.text(topic)
    body += struct.pack(">iiqi", 1, 0, 0, 20_000_000)
    ask = wire.framed(wire.header(wire.FETCH, 4) + body)
    readers = [wire.Connection(broker.port, receive_buffer=4096) for _ in range(20)]
    with busy(broker, f"{topic}-busy"):
        for one in readers:
            one.socket.settimeout(2)
            with contextlib.suppress(OSError):
                for _ in range(10):
                    one.send(ask)
        time.sleep(2)
        assert broker.resident_mb() < before + 120
        # One of them begins to read, and gets all that it asked for.
        readers[0].socket.settimeout(20)
        for _ in range(10):
            assert len(readers[0].answer()) > 17_000_000
    for one in readers:
        one.close()


def test_requests_without_reading_answers(broker, topic):
    """Small requests by the thousand from one that never reads: back-pressure, not memory."""
    before = broker.resident_mb()
    one = wire.Connection(broker.port, receive_buffer=4096)
    one.socket.settimeout(1)
    request = wire.framed(wire.header(wire.METADATA, 1) + struct.pack(">i", -1)) * 200
    with busy(broker, f"{topic}-busy"):
        with contextlib.suppress(OSError):
            for _ in range(2000):
                one.send(request)
        assert broker.resident_mb() < before + 60
    one.close()


# ------------------------------------------------------------------------------------ promises


def test_frames_of_100_mb_that_never_come(broker, topic):
    """What ends Kafka 4.3 within seconds: many promise 100 MB, send a kilobyte and fall silent."""
    before = broker.resident_mb()
    silent = []
    with busy(broker, f"{topic}-busy"):
        for _ in range(400):
            connection = wire.Connection(broker.port)
            connection.send(struct.pack(">i", 104_857_600) + wire.header(wire.PRODUCE, 7) + b"\0" * 1024)
            silent.append(connection)
        time.sleep(3)
        assert broker.resident_mb() < before + 60
    for one in silent:
        one.close()


def test_frames_of_100_mb_that_come_in_part(broker, topic):
    """Fifty send 30 MB each of a frame and wait: the memory for requests is bounded, and small ones get through."""
    before = broker.resident_mb()
    attackers = []
    with busy(broker, f"{topic}-busy", worst=5.0):
        part = wire.header(wire.PRODUCE, 7) + b"\0" * 1_000_000
        for _ in range(50):
            connection = wire.Connection(broker.port)
            connection.socket.settimeout(0.5)
            connection.send(struct.pack(">i", 104_857_600))
            with contextlib.suppress(OSError):
                for _ in range(30):
                    connection.send(part)
            attackers.append(connection)
        grown = broker.resident_mb() - before
        print(f"50 × 30 MB: resident memory grew by {grown:.0f} MB")
        assert grown < 800
    for one in attackers:
        one.close()
    time.sleep(0.5)


def test_a_thousand_connections(broker, topic):
    """Connect, ask once, stay; then all go. No descriptor stays behind."""
    before = broker.descriptors()
    with busy(broker, f"{topic}-busy"):
        held = []
        for _ in range(1000):
            connection = wire.Connection(broker.port)
            connection.api_versions()
            held.append(connection)
        assert broker.descriptors() >= before + 1000
        for one in held:
            one.close()
    end = time.monotonic() + 10
    while broker.descriptors() > before + 10 and time.monotonic() < end:
        time.sleep(0.05)
    assert broker.descriptors() <= before + 10  # the topic's files, and other tests' leftovers going


def test_limits_on_connections(make_broker):
    broker = make_broker({"max.connections.per.ip": "20"})
    broker.start()
    held = [wire.Connection(broker.port) for _ in range(20)]
    for one in held:
        assert one.api_versions()
    extra = wire.Connection(broker.port)
    assert extra.closed_within(5), "the 21st connection"
    held[0].close()
    time.sleep(0.3)
    with wire.Connection(broker.port) as another:
        assert another.api_versions()
    for one in held:
        one.close()
    broker.stop()


def test_idle_connections_are_closed(make_broker):
    broker = make_broker({"connections.max.idle.ms": "1000"})
    broker.start()
    with wire.Connection(broker.port) as connection:
        connection.api_versions()
        assert not connection.closed_within(0.5)
        assert connection.closed_within(4)
    broker.stop()
