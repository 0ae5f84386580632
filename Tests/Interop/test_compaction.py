"""Compacted topics: what stays, as real clients read it."""

import time

import pytest

from support import logfile
from support.clients import CLIENTS, Record

BROKER_OVERRIDES = {
    "log.cleaner.backoff.ms": 200,
    "log.retention.check.interval.ms": 500,
    "offsets.topic.num.partitions": 1,
}

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "min.cleanable.dirty.ratio": "0.01",
    "file.delete.delay.ms": "500",
}


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def cleaned(broker, topic):
    return f"{topic}-0: cleaned" in broker.log()


def write(client, topic, rounds, codec="none", size=2000):
    """200 keys, again and again; the last record of each key by its offset."""
    last, offset = {}, 0
    for number in range(rounds):
        records = [Record(key=b"key-%d" % i, value=b"%d-%d-" % (number, i) + b"x" * size) for i in range(200)]
        for record in records:
            last[record.key] = (offset, record.value)
            offset += 1
        client.produce(topic, records, codec=codec)
    return last


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_the_last_value_of_each_key_stays(broker, clients, topic, codec):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs=COMPACTED)
    last = write(one, topic, 12, codec)
    if codec != "none":
        # Packed they are small: the segment ends by its age.
        one.set_topic_configs(topic, {"segment.ms": "100"})
        time.sleep(0.2)
        one.produce(topic, [Record(key=b"end", value=b"1")])
    assert wait_for(lambda: cleaned(broker, topic)), "it is not compacted"
    kept = {}
    for record in one.consume(topic, 100_000, timeout=5):
        kept.setdefault(record.key, []).append((record.offset, record.value))
    for key, (offset, value) in last.items():
        assert kept[key][-1] == (offset, value)
    assert sum(map(len, kept.values())) < 12 * 200
    for name in ("java", "aiokafka", "kafka-python"):
        read = clients(name).consume(topic, sum(map(len, kept.values())))
        assert {r.key: (r.offset, r.value) for r in read if r.key != b"end"} == last, name
    assert all(batch.crc_right for batch in logfile.batches(broker.data / f"{topic}-0"))
    # And on from there, also from an offset that is gone.
    end = one.offsets(topic)[1]
    assert one.produce(topic, [Record(key=b"key-0", value=b"new")]) == [end]
    assert one.consume(topic, 1, start=end)[0].value == b"new"
    assert one.consume(topic, 1, start=1)[0].offset > 1


def test_tombstones_go_in_time(broker, clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={**COMPACTED, "delete.retention.ms": "1000"})
    write(one, topic, 3)
    one.produce(topic, [Record(key=b"key-%d" % i, value=None) for i in range(100)])

    def remaining():
        # Something new, so that there is something to clean.
        one.produce(topic, [Record(key=b"filler-%d" % i, value=b"y" * 100_000) for i in range(11)])
        time.sleep(0.4)
        return {r.key: r.value for r in one.consume(topic, 10_000, timeout=3) if r.key.startswith(b"key-")}

    assert wait_for(lambda: set(remaining()) == {b"key-%d" % i for i in range(100, 200)}, 60)


def test_committed_offsets_survive_compaction_and_restart(make_broker, topic):
    broker = make_broker(BROKER_OVERRIDES)
    broker.start()
    one = CLIENTS["confluent-kafka"](broker.address)
    one.create_topic(topic)
    one.produce(topic, [Record(value=b"%d" % i) for i in range(400)])
    for offset in range(1, 400):
        one.commit("group-%d" % (offset % 7), topic, offset)
    # What fills no segment of 1 MB is in one that can be compacted when it is old.
    one.set_topic_configs("__consumer_offsets", {"segment.ms": "100"})
    time.sleep(0.2)
    one.commit("another", topic, 1)
    before = (broker.data / "__consumer_offsets-0" / f"{0:020}.log").stat().st_size
    assert wait_for(lambda: cleaned(broker, "__consumer_offsets")), "__consumer_offsets is not compacted"
    assert (broker.data / "__consumer_offsets-0" / f"{0:020}.log").stat().st_size < before / 10
    expected = {group: max(o for o in range(1, 400) if o % 7 == group) for group in range(7)}
    for how in ("stop", "kill"):
        one.close()
        broker.restart(how)
        one = CLIENTS["confluent-kafka"](broker.address)
        for group, offset in expected.items():
            assert one.committed("group-%d" % group, topic) == offset
    one.close()
    broker.stop()
