"""kill -9 in the middle of the work of ten idempotent producers: every acknowledged record is there, once, in order.

Small by default. The whole of it, ten minutes and 20 GB of disk:
    OTTLA_CRASH_ROUNDS=20 OTTLA_CRASH_BYTES=20e9 OTTLA_CRASH_PARTITIONS=200 script/test interop -k crash -n 0 -s
"""

import collections
import os
import random
import struct
import threading
import time

import pytest

from support import logfile, wire

ROUNDS = int(os.environ.get("OTTLA_CRASH_ROUNDS", 4))
BYTES = int(float(os.environ.get("OTTLA_CRASH_BYTES", 120e6)))
PARTITIONS = int(os.environ.get("OTTLA_CRASH_PARTITIONS", 40))
PRODUCERS = 10
RECORD = struct.Struct(">ciq")  # "w", the producer, its number in this partition
TOPIC = "crash"
# Small segments and large records: here it is killed in the middle of rolls too.
ROLLING, ROLLING_PARTITIONS = "rolling", 4
ALL = [(TOPIC, one) for one in range(PARTITIONS)] + [(ROLLING, one) for one in range(ROLLING_PARTITIONS)]


def preload(broker) -> int:
    """Fills every partition alike, a quarter of it in the active segment, and returns the offset after it."""
    batch = wire.batch([random.Random(i).randbytes(100_000) for i in range(10)])
    each = max(1, BYTES // PARTITIONS // len(batch))
    with wire.Connection(broker.port, timeout=60) as connection:
        size = max(1 << 20, int(each * len(batch) * 0.375))
        configs = {"segment.bytes": str(size), "max.message.bytes": "2000000"}
        assert connection.create_topic(TOPIC, PARTITIONS, configs) == 0
        configs = {"segment.bytes": str(1 << 20), "segment.index.bytes": "1000"}
        assert connection.create_topic(ROLLING, ROLLING_PARTITIONS, configs) == 0
        for _ in range(each):
            for partition in range(PARTITIONS):
                connection.send(wire.framed(wire.produce_request(TOPIC, partition, batch)))
            for _ in range(PARTITIONS):
                assert wire.produce_answer(connection.answer(), TOPIC)[0] == 0
    return each * 10


class Producers:
    """Ten librdkafka producers, each writing to all partitions, numbering what it writes to each."""

    def __init__(self, broker):
        from confluent_kafka import Producer

        self.acknowledged = collections.Counter()  # (producer, topic, partition) -> how many, from 0 on
        self.failures: list[str] = []
        self.stopping = threading.Event()
        settings = {
            "bootstrap.servers": broker.address,
            "enable.idempotence": True,
            "linger.ms": 2,
            "message.timeout.ms": 120_000,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "log_level": 0,
        }
        self.threads = [
            threading.Thread(target=self._run, args=(number, Producer(settings))) for number in range(PRODUCERS)
        ]
        for one in self.threads:
            one.start()

    def _run(self, number, producer):
        following = collections.Counter()

        def delivered(error, message):
            if error:
                self.failures.append(f"producer {number}: {error}")
                return
            _, _, sequence = RECORD.unpack_from(message.value())
            key = (number, message.topic(), message.partition())
            if sequence != self.acknowledged[key]:
                self.failures.append(f"{key}: {sequence} was acknowledged after {self.acknowledged[key]} others")
            self.acknowledged[key] = sequence + 1

        choose = random.Random(number)
        while not self.stopping.is_set():
            for _ in range(10):
                topic, partition = choose.choice(ALL if choose.random() < 0.8 else ALL[PARTITIONS:])
                value = RECORD.pack(b"w", number, following[topic, partition])
                if topic == ROLLING:
                    value += choose.randbytes(choose.randrange(5000))
                try:
                    producer.produce(topic, value, partition=partition, on_delivery=delivered)
                except BufferError:
                    break
                following[topic, partition] += 1
            producer.poll(0.03)
        producer.flush(60)

    def stop(self):
        self.stopping.set()
        for one in self.threads:
            one.join(90)
        assert not self.failures, self.failures[:5]


def until_all_serve(broker) -> float:
    """Seconds from exec until a record was written to and read back from every partition."""
    began = time.monotonic()
    broker.start(timeout=60)
    waiting = set(ALL)
    positions = {}
    with wire.Connection(broker.port, timeout=60) as connection:
        while waiting:
            for topic, partition in sorted(waiting):
                probe = wire.batch([b"probe"])
                connection.send(wire.framed(wire.produce_request(topic, partition, probe)))
            for topic, partition in sorted(waiting):
                error, offset = wire.produce_answer(connection.answer(), topic)
                if error == 0:
                    positions[topic, partition] = offset
            waiting -= set(positions)
            if waiting:
                time.sleep(0.01)
        for (topic, partition), offset in positions.items():
            error, _, records = connection.fetch(topic, partition, offset, max_bytes=200)
            assert error == 0 and records, f"{topic}-{partition} cannot be read: error {error}"
    return time.monotonic() - began


class Seen:
    """How far the records of the producers have been read and found right."""

    def __init__(self, start: int):
        self.following = collections.Counter()  # (producer, topic, partition) -> its next number
        self.positions = {key: start if key[0] == TOPIC else 0 for key in ALL}


def check(broker, seen: Seen, acknowledged: dict) -> int:
    """What was acknowledged is there, once and in order; reads on from where `seen` stands, and moves it.

    Returns how many records of the producers there are.
    """
    from confluent_kafka import Consumer, TopicPartition

    following, positions = seen.following, seen.positions
    with wire.Connection(broker.port) as connection:
        ends = {key: connection.end_offset(*key) for key in ALL}
    assert all(ends[key] >= positions[key] for key in ALL), "what had been read is no longer there"
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "check", "enable.auto.commit": False})
    consumer.assign([TopicPartition(*key, position) for key, position in positions.items()])
    deadline = time.monotonic() + 300
    try:
        while any(positions[p] < ends[p] for p in ends):
            assert time.monotonic() < deadline, "the log cannot be read to its end"
            for message in consumer.consume(1000, 0.5):
                assert not message.error(), message.error()
                key = (message.topic(), message.partition())
                assert message.offset() == positions[key], f"{key}: a gap in the offsets"
                positions[key] += 1
                value = message.value()
                if value[:1] != b"w":
                    continue
                _, producer, sequence = RECORD.unpack_from(value)
                expected = following[producer, *key]
                assert sequence == expected, (
                    f"{key}, offset {message.offset()}: number {sequence} of producer {producer} "
                    f"where {expected} should be"
                )
                following[producer, *key] += 1
    finally:
        consumer.close()
    for key, count in acknowledged.items():
        assert following[key] >= count, f"{key}: {count} were acknowledged and {following[key]} are there"
    return sum(following.values())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_producers_and_kill_9(make_broker, record_property):
    broker = make_broker()
    broker.start()
    start = preload(broker)
    producers = Producers(broker)
    seen = Seen(start)
    times = []
    try:
        for round in range(ROUNDS):
            time.sleep(random.Random(round).uniform(0.5, 1.5))
            broker.kill()
            if round % 3 == 2:
                # Once more, while it puts in order what the first left.
                broker.launch()
                time.sleep(random.Random(round).uniform(0, 0.1))
                broker.kill()
            times.append(until_all_serve(broker))
            acknowledged = dict(producers.acknowledged)
            count = check(broker, seen, acknowledged)
            assert not producers.failures, producers.failures[:5]
            print(
                f"round {round + 1}: {times[-1] * 1000:.0f} ms until all {len(ALL)} partitions serve, {count} records; "
                f"load {os.getloadavg()[0]:.1f}"
            )
    finally:
        producers.stop()
    # Once more all of it, from the first record on.
    check(broker, Seen(start), dict(producers.acknowledged))
    assert sum(producers.acknowledged.values()) > 100 * ROUNDS
    # The files themselves: checksums, and no offset missing, from the first on.
    for topic, partition in ALL:
        expected = 0
        for batch in logfile.batches(broker.data / f"{topic}-{partition}"):
            assert batch.crc_right
            assert batch.base_offset == expected, f"{topic}-{partition}"
            expected = batch.last_offset + 1
    rolls = len(list(broker.data.glob(f"{ROLLING}-*/*.log"))) - ROLLING_PARTITIONS
    gigabytes = sum(one.stat().st_size for one in broker.data.glob(f"{TOPIC}-*/*.log")) / 1e9
    assert rolls > ROUNDS / 2
    print(
        f"kill -9 with {gigabytes:.1f} GB, {rolls} rolls: all partitions serve after {min(times):.2f} to "
        f"{max(times):.2f} s"
    )
    record_property("slowest_restart_s", f"{max(times):.2f}")
    assert max(times) < (5 if gigabytes < 1 else 2), "the goal is a second"
    broker.stop()


def test_a_torn_tail_is_cut(make_broker):
    """What a crash of the machine may leave: half a batch at the end. After a reboot it goes; the rest stays."""
    broker = make_broker()
    broker.start()
    with wire.Connection(broker.port) as connection:
        connection.create_topic("torn")
        for i in range(5):
            assert connection.produce("torn", 0, wire.batch([b"%d" % i])) == (0, i)
    broker.kill()
    segment = broker.data / "torn-0" / "00000000000000000000.log"
    whole = segment.stat().st_size
    with open(segment, "ab") as file:
        file.write(wire.batch([b"half"])[:40])
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset("torn", 0) == 5
        assert connection.produce("torn", 0, wire.batch([b"after"])) == (0, 5)
        assert len(connection.fetch("torn", 0, 0)[2]) == whole + len(wire.batch([b"after"]))
    broker.stop()
    assert [b.base_offset for b in logfile.batches(broker.data / "torn-0")] == [0, 1, 2, 3, 4, 5]
