"""Hundreds of `kill -9`, one shortly after the other, under producers of every kind, while segments roll, the cleaner
works and retention deletes: no acknowledged record is lost, repeated or moved.

Small by default. The whole of it, about half an hour:
    OTTLA_CRASH_ROUNDS=1000 script/test interop -k crash_rounds -n 0 -s
"""

import os
import random
import struct
import threading
import time

import pytest

from support import wire

ROUNDS = int(os.environ.get("OTTLA_CRASH_ROUNDS", 25))
SEED = int(os.environ.get("OTTLA_CRASH_SEED", random.randrange(1 << 32)))
# What is acknowledged is looked for each time; a topic is read from its beginning after so many rounds.
WHOLE_EVERY = 100
PARTITIONS = 3
KEYS = 300
VALUE = struct.Struct(">iq")  # the producer, its number among its own

# Small segments, so that a kill finds a roll, a cleaning or a deletion under way.
TOPICS = {
    "kept": {"segment.bytes": "1048576", "retention.ms": "-1"},
    "compacted": {
        "cleanup.policy": "compact", "segment.bytes": "1048576", "segment.ms": "400",
        "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "5000", "file.delete.delay.ms": "300",
    },
    "retained": {
        "segment.bytes": "1048576", "segment.ms": "500", "retention.bytes": "3000000", "file.delete.delay.ms": "300",
    },
    "both": {
        "cleanup.policy": "compact,delete", "segment.bytes": "1048576", "segment.ms": "700",
        "retention.ms": "20000", "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "300",
    },
}
BROKER = {
    "log.retention.check.interval.ms": 200,
    "log.initial.task.delay.ms": 100,
    "log.cleaner.backoff.ms": 100,
    "log.cleaner.dedupe.buffer.size": 4 << 20,
    "log.flush.offset.checkpoint.interval.ms": 300,
}
KINDS = [
    {"enable.idempotence": True, "compression.type": "none"},
    {"enable.idempotence": True, "compression.type": "lz4"},
    {"enable.idempotence": True, "compression.type": "zstd", "linger.ms": 30},
    {"enable.idempotence": False, "acks": 1, "compression.type": "gzip"},
    {"enable.idempotence": False, "acks": -1, "compression.type": "snappy"},
]


def content(message):
    """What is remembered of a record: its key, whose it is (nothing of a tombstone), and a hash of the rest."""
    value = message.value()
    return message.key(), value and VALUE.unpack_from(value), hash(value)


class Kept:
    """What was acknowledged of one partition, by offset (`content`). Guarded by the lock of `Producers`."""

    def __init__(self):
        self.records = {}
        self.last = {}  # key -> the greatest acknowledged offset of it
        self.start = 0  # the greatest log start that was seen


class Producers:
    def __init__(self, broker):
        from confluent_kafka import Producer

        self.lock = threading.Lock()
        self.kept = {(topic, one): Kept() for topic in TOPICS for one in range(PARTITIONS)}
        self.acknowledged = 0
        self.failures = []
        self.stopping = threading.Event()
        settings = {
            "bootstrap.servers": broker.address, "linger.ms": 2, "message.timeout.ms": 120_000, "log_level": 0,
            # Otherwise what waits in the client is older than that before it is sent, on a busy machine.
            "queue.buffering.max.messages": 5000,
            "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 60, "retry.backoff.ms": 20,
        }
        self.threads = [
            threading.Thread(target=self._run, args=(number, Producer({**settings, **kind}), kind))
            for number, kind in enumerate(KINDS)
        ]
        for one in self.threads:
            one.start()

    def _run(self, number, producer, kind):
        choose = random.Random(SEED + number)
        count = 0

        def delivered(error, message):
            if error:
                # Without idempotence nothing is promised of what was not acknowledged.
                if kind["enable.idempotence"]:
                    self.failures.append(f"producer {number}: {error}")
                return
            with self.lock:
                kept = self.kept[message.topic(), message.partition()]
                offset = message.offset()
                if kept.records.setdefault(offset, content(message)) != content(message):
                    self.failures.append(f"{message.topic()}-{message.partition()}: offset {offset} given twice")
                key = message.key()
                kept.last[key] = max(kept.last.get(key, -1), offset)
                self.acknowledged += 1

        while not self.stopping.is_set():
            for _ in range(20):
                topic = choose.choice(list(TOPICS))
                key = b"%d" % choose.randrange(KEYS)
                value = VALUE.pack(number, count) + choose.randbytes(choose.randrange(3000))
                if topic == "compacted" and choose.random() < 0.05:
                    value = None
                try:
                    producer.produce(
                        topic, value, key=key, partition=choose.randrange(PARTITIONS), on_delivery=delivered
                    )
                except BufferError:
                    break
                count += 1
            producer.poll(0.05)
        producer.flush(60)

    def stop(self):
        self.stopping.set()
        for one in self.threads:
            one.join(90)
        assert not self.failures, self.failures[:5]


class Checker:
    """Reads what is new since it last looked, now and then everything."""

    def __init__(self, broker, producers):
        self.broker, self.producers = broker, producers
        self.positions = {key: 0 for key in producers.kept}
        self.numbers = {}  # (producer, topic, partition) -> its last number seen, where order is promised

    def check(self, whole: bool):
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        with self.producers.lock:
            promised = {key: dict(kept.records) for key, kept in self.producers.kept.items()}
            last = {key: dict(kept.last) for key, kept in self.producers.kept.items()}
        with wire.Connection(self.broker.port, timeout=60) as connection:
            ends = {key: connection.end_offset(*key) for key in promised}
            starts = {key: connection.end_offset(*key, timestamp=-2) for key in promised}
        for key, start in starts.items():
            kept = self.producers.kept[key]
            assert start >= kept.start, f"{key}: the log starts at {start}, before it was at {kept.start}"
            kept.start = start
            if promised[key]:
                assert ends[key] > max(promised[key]), f"{key}: ends at {ends[key]}, {max(promised[key])} was acknowledged"
        begin = {key: starts[key] if whole else max(self.positions[key], starts[key]) for key in promised}
        for key in promised:
            assert ends[key] >= self.positions[key], f"{key}: what had been read is no longer there"
        found = {key: {} for key in promised}
        consumer = Consumer(
            {"bootstrap.servers": self.broker.address, "group.id": "check", "enable.auto.commit": False,
             "enable.partition.eof": True, "auto.offset.reset": "earliest", "log_level": 0}
        )
        waiting = {key for key in promised if begin[key] < ends[key]}
        consumer.assign([TopicPartition(*key, begin[key]) for key in waiting])
        # Late in a long run the whole of it is some gigabytes.
        deadline = time.monotonic() + 120
        try:
            while waiting:
                assert time.monotonic() < deadline, f"cannot be read to the end: {waiting}"
                for message in consumer.consume(1000, 0.2):
                    key = (message.topic(), message.partition())
                    if key in waiting and not message.error():
                        deadline = time.monotonic() + 120
                    if message.error():
                        assert message.error().name() == "_PARTITION_EOF", message.error()
                        waiting.discard(key)
                        continue
                    offset = message.offset()
                    assert offset not in found[key], f"{key}: offset {offset} came twice"
                    found[key][offset] = content(message)
                    if offset + 1 >= ends[key]:
                        waiting.discard(key)
        finally:
            consumer.close()
        with wire.Connection(self.broker.port, timeout=60) as connection:
            # Retention may have gone on meanwhile.
            starts = {key: connection.end_offset(*key, timestamp=-2) for key in promised}
        for key in promised:
            self._compare(key, begin[key], starts[key], promised[key], last[key], found[key])
            self.positions[key] = max(self.positions[key], ends[key])

    def _is_superseded(self, key, offset, record_key) -> bool:
        """Whether there is a record of the key at or behind an offset. What is found may itself be cleaned away while it
        is looked for, so it is looked for some times."""
        from confluent_kafka import Consumer, TopicPartition

        for _ in range(5):
            with wire.Connection(self.broker.port, timeout=60) as connection:
                end = connection.end_offset(*key)
            consumer = Consumer(
                {"bootstrap.servers": self.broker.address, "group.id": "look", "enable.auto.commit": False,
                 "enable.partition.eof": True, "log_level": 0}
            )
            consumer.assign([TopicPartition(*key, offset)])
            try:
                reading = True
                while reading:
                    for message in consumer.consume(1000, 1):
                        if message.error() or message.offset() + 1 >= end:
                            reading = False
                        if not message.error() and message.key() == record_key:
                            return True
            finally:
                consumer.close()
        return False

    def _compare(self, key, begin, start, promised, last, found):
        compacted = key[0] in ("compacted", "both")
        newest = {}
        order = {}
        for offset in sorted(found):
            record_key, origin, _ = found[offset]
            newest[record_key] = offset
            if offset in promised:
                assert promised[offset] == found[offset], f"{key}: another record at offset {offset}"
            if origin is not None and not compacted:
                producer, number = origin
                if KINDS[producer]["enable.idempotence"]:
                    assert number > order.get(producer, -1), f"{key}: producer {producer} repeated or out of order"
                    order[producer] = number
        for offset, (record_key, origin, _) in promised.items():
            if offset < max(begin, start) or offset in found:
                continue
            if not compacted:
                raise AssertionError(f"{key}: the acknowledged record at offset {offset} is lost")
            # Gone by compaction: something newer of the key is there, or it was a tombstone, or followed by one.
            if offset == last[record_key] and newest.get(record_key, -1) < offset:
                # Or something newer that was written after the end was asked for, and the cleaner was quick.
                newer = origin is None or self._is_superseded(key, offset, record_key)
                assert newer, f"{key}: the last record of {record_key}, at {offset}, is lost"
        with self.producers.lock:
            # What was found right need not be looked for again, but for each key's last.
            kept = self.producers.kept[key]
            for offset in promised:
                if not compacted or kept.last[promised[offset][0]] != offset:
                    if offset < self.positions[key] - 5000:
                        kept.records.pop(offset, None)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_crash_rounds(make_broker, record_property):
    print(f"seed {SEED}: OTTLA_CRASH_SEED={SEED}")
    broker = make_broker(BROKER)
    broker.start()
    with wire.Connection(broker.port) as connection:
        for topic, configs in TOPICS.items():
            assert connection.create_topic(topic, PARTITIONS, configs) == 0
    producers = Producers(broker)
    checker = Checker(broker, producers)
    choose = random.Random(SEED)
    slowest = 0.0
    try:
        for round in range(ROUNDS):
            time.sleep(choose.uniform(0.05, 0.9))
            broker.kill()
            if choose.random() < 0.2:
                # Once more, while it puts in order what the first left.
                broker.launch()
                time.sleep(choose.uniform(0, 0.05))
                broker.kill()
            slowest = max(slowest, broker.start(timeout=60))
            checker.check(whole=round % WHOLE_EVERY == WHOLE_EVERY - 1)
            broker.check()
            assert not producers.failures, producers.failures[:5]
    finally:
        producers.stop()
    checker.check(whole=True)
    cleaned = sum(1 for one in broker.data.glob("compacted-*/*.log"))
    print(
        f"{ROUNDS} rounds, {producers.acknowledged} records acknowledged, slowest start {slowest:.2f} s, "
        f"{cleaned} segments of the compacted topic"
    )
    record_property("slowest_restart_s", f"{slowest:.2f}")
    assert producers.acknowledged > 20 * ROUNDS
    with wire.Connection(broker.port, timeout=60) as connection:
        # Otherwise neither the cleaner nor retention had a part in it.
        assert any(connection.end_offset("retained", one, timestamp=-2) > 0 for one in range(PARTITIONS))
    broker.stop()
