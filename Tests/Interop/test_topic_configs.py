"""Settings of a topic take effect while the broker runs."""

import time

import pytest

from support import logfile, wire
from support.clients import ClientError, Record

BROKER_OVERRIDES = {"log.retention.check.interval.ms": 500, "log.segment.delete.delay.ms": 500}

COMPRESSIBLE = [Record(value=b"the same words again and again " * 20) for _ in range(50)]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
def test_compression_type_recompresses(broker, clients, topic, codec):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"compression.type": "zstd"})
    one.produce(topic, COMPRESSIBLE, codec=codec)
    assert set(logfile.codecs(broker.data, topic)) == {"zstd"}
    for name in ("confluent-kafka", "kafka-python", "aiokafka", "java", "kcat"):
        assert [r.value for r in clients(name).consume(topic, 50)] == [r.value for r in COMPRESSIBLE]


def test_compression_type_uncompressed_and_back(broker, clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"compression.type": "uncompressed"})
    one.produce(topic, COMPRESSIBLE, codec="lz4")
    assert set(logfile.codecs(broker.data, topic)) == {"none"}
    one.set_topic_configs(topic, {"compression.type": "producer"})
    one.produce(topic, COMPRESSIBLE, codec="lz4")
    assert logfile.codecs(broker.data, topic)[-1] == "lz4"
    assert len(clients("java").consume(topic, 100)) == 100


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_log_append_time(broker, clients, topic, codec):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    one.produce(topic, [Record(value=b"x" * 100, timestamp=1_000_000_000_000 + i) for i in range(20)], codec=codec)
    after = int(time.time() * 1000)
    assert all(b.log_append_time and b.crc_right for b in logfile.batches(broker.data / f"{topic}-0"))
    for name in ("confluent-kafka", "kafka-python", "aiokafka", "java", "kcat"):
        got = clients(name).consume(topic, 20)
        assert len(got) == 20
        assert all(before <= r.timestamp <= after for r in got), name
        assert {r.timestamp_type for r in got} == {"append"}, name
    one.set_topic_configs(topic, {"message.timestamp.type": "CreateTime"})
    one.produce(topic, [Record(value=b"x", timestamp=before - 5)])
    assert clients("java").consume(topic, 1, start=20)[0].timestamp == before - 5


def test_max_message_bytes(clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"max.message.bytes": "1000"})
    one.produce(topic, [Record(value=b"small")])
    with pytest.raises(ClientError, match="(?i)too.?large|MSG_SIZE"):
        one.produce(topic, [Record(value=b"x" * 2000)])
    one.set_topic_configs(topic, {"max.message.bytes": "3000"})
    assert one.produce(topic, [Record(value=b"x" * 2000)]) == [1]
    assert len(one.consume(topic, 2)) == 2


def test_a_larger_limit_lets_large_records_through(clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"max.message.bytes": "12000000"})
    value = bytes(range(256)) * 40_000
    one.produce(topic, [Record(value=value)], config={"message.max.bytes": 20_000_000})
    assert one.consume(topic, 1, config={"fetch.message.max.bytes": 20_000_000})[0].value == value
    # A consumer with ordinary limits gets past it too.
    assert clients("java").consume(topic, 1)[0].value == value


def wait_for(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_retention_by_time(broker, clients, topic):
    one = clients("confluent-kafka")
    # Kafka's smallest segment is 1 MB.
    one.create_topic(topic, configs={"segment.bytes": "1048576"})
    old = int(time.time() * 1000) - 7_200_000
    for _ in range(4):
        one.produce(topic, [Record(value=b"x" * 100_000, timestamp=old) for _ in range(8)])
    one.produce(topic, [Record(value=b"new")])
    assert one.offsets(topic) == (0, 33)
    one.set_topic_configs(topic, {"retention.ms": "3600000"})
    assert wait_for(lambda: one.offsets(topic)[0] > 0), "retention.ms has no effect"
    first, last = one.offsets(topic)
    assert last == 33
    assert [r.offset for r in clients("java").consume(topic, 40, start="earliest", timeout=4)] == list(range(first, 33))
    folder = broker.data / f"{topic}-0"
    assert wait_for(lambda: not list(folder.glob("*.deleted"))), "deleted segments stay"


def test_retention_by_size(clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"segment.bytes": "1048576"})
    for _ in range(5):
        one.produce(topic, [Record(value=b"x" * 100_000) for _ in range(8)])
    one.set_topic_configs(topic, {"retention.bytes": "1500000"})
    assert wait_for(lambda: one.offsets(topic)[0] > 0), "retention.bytes has no effect"
    first, last = one.offsets(topic)
    assert last == 40
    assert (last - first) * 100_000 >= 1_500_000, "it keeps at least what it should"


def test_a_compacted_topic_wants_keys(clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"cleanup.policy": "compact"})
    assert one.produce(topic, [Record(key=b"k", value=b"v")]) == [0]
    with pytest.raises(ClientError, match="(?i)invalid.?record|Broker: Broker failed to validate record"):
        one.produce(topic, [Record(value=b"no key")])
    with pytest.raises(ClientError, match="(?i)InvalidRecord"):
        clients("java").produce(topic, [Record(value=b"no key")])


def test_timestamps_out_of_range(broker, clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic, configs={"message.timestamp.before.max.ms": "60000"})
    now = int(time.time() * 1000)
    with wire.Connection(broker.port) as connection:
        assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now)) == (0, 0)
        assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now - 120_000))[0] == 32, "INVALID_TIMESTAMP"
        assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now + 7_200_000))[0] == 32
    one.set_topic_configs(topic, {"message.timestamp.before.max.ms": "600000"})
    with wire.Connection(broker.port) as connection:
        assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now - 120_000)) == (0, 1)


def test_segments_roll_where_the_setting_says(broker, clients, topic):
    one = clients("confluent-kafka")
    one.create_topic(topic)
    folder = broker.data / f"{topic}-0"
    one.produce(topic, [Record(value=b"x" * 100_000) for _ in range(15)])
    assert len(list(folder.glob("*.log"))) == 1
    one.set_topic_configs(topic, {"segment.bytes": "1048576"})
    for _ in range(3):
        one.produce(topic, [Record(value=b"x" * 100_000) for _ in range(8)])
    names = sorted(one.name for one in folder.glob("*.log"))
    assert len(names) >= 3
    assert all(len(name) == len("00000000000000000000.log") for name in names)
    assert len(one.consume(topic, 39)) == 39


@pytest.mark.parametrize(
    ("name", "value"),
    [("cleanup.policy", "wipe"), ("retention.ms", "soon"), ("segment.bytes", "-5"), ("no.such.config", "1")],
)
def test_bad_values_are_refused(clients, topic, name, value):
    one = clients("java")
    with pytest.raises(ClientError, match="InvalidConfiguration|InvalidRequest"):
        one.create_topic(topic, configs={name: value})
    assert topic not in one.topics()
    one.create_topic(topic)
    with pytest.raises(ClientError, match="InvalidConfiguration|InvalidRequest"):
        one.set_topic_configs(topic, {name: value})
