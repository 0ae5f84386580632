"""Data folders that Kafka 4.3 wrote (Tests/Vectors/kafka-folders): everything that Kafka's own clients saw in them."""

import json
import pathlib
import re
import shutil
import tarfile

import confluent_kafka
import pytest
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from support.broker import Broker
from support.clients import CLIENTS, Record

VECTORS = pathlib.Path(__file__).parent.parent / "Vectors" / "kafka-folders"
KINDS = ["clean", "killed"]
EXPECTED = [json.loads(line) for line in (VECTORS / "expected.jsonl").read_text().splitlines()]
PARTITIONS = [one for one in EXPECTED if "uncommitted" in one]
GROUPS = json.loads((VECTORS / "groups.json").read_text())
# Things expire by the clock: the records are of November 2026.
SETTINGS = {
    "node.id": 0,
    "offsets.retention.minutes": 50_000_000,
    "producer.id.expiration.ms": 2_000_000_000,
    "transactional.id.expiration.ms": 2_000_000_000,
    "group.initial.rebalance.delay.ms": 0,
}


def extract(kind, folder) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(VECTORS / kind / "folder.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / kind


def kafka_broker(folder, kind, **more) -> Broker:
    data = extract(kind, folder)
    broker = Broker(folder / "broker", {**SETTINGS, "log.dirs": data, **more})
    broker.data = data
    return broker


@pytest.fixture(scope="module", params=KINDS)
def adopted(request, tmp_path_factory):
    broker = kafka_broker(tmp_path_factory.mktemp(request.param), request.param)
    broker.start()
    yield broker
    try:
        broker.check()
        broker.stop()
    finally:
        broker.kill()


def content(value) -> bytes | None:
    if isinstance(value, dict):
        return bytes.fromhex(value["repeat"]) * value["times"]
    return None if value is None else bytes.fromhex(value)


def expected_records(one):
    return [
        (r["offset"], r["timestamp"], content(r["key"]), content(r["value"]), [(k, content(v)) for k, v in r["headers"]])
        for r in one["uncommitted"]
    ]


def name(one) -> str:
    return f"{one['topic']}-{one['partition']}"


def consume(address, one, isolation):
    """Up to the last offset that the isolation level shows."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    found = []
    try:
        consumer.assign([TopicPartition(one["topic"], one["partition"], confluent_kafka.OFFSET_BEGINNING)])
        for _ in range(1000):
            message = consumer.poll(10)
            assert message is not None, f"{name(one)}: nothing after {found[-1:]}"
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                return found
            found.append(message)
    finally:
        consumer.close()
    raise AssertionError("no end")


def check_partitions(address):
    admin = AdminClient({"bootstrap.servers": address})
    for one in PARTITIONS:
        consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "unused", "isolation.level": "read_uncommitted"}
        )
        partition = TopicPartition(one["topic"], one["partition"])
        assert consumer.get_watermark_offsets(partition, timeout=10) == (one["logStartOffset"], one["endOffset"]), name(one)
        for asked, offset, _ in one["offsetsForTimes"]:
            (found,) = consumer.offsets_for_times([TopicPartition(partition.topic, partition.partition, asked)], timeout=10)
            wanted = offset if offset >= 0 else confluent_kafka.OFFSET_END
            assert found.offset == wanted, (name(one), asked)
        consumer.close()
        for isolation, latest in (("READ_UNCOMMITTED", "endOffset"), ("READ_COMMITTED", "lastStableOffset")):
            answer = admin.list_offsets({partition: OffsetSpec.latest()}, isolation_level=IsolationLevel[isolation])
            assert answer[partition].result().offset == one[latest], (name(one), isolation)
        answer = admin.list_offsets({partition: OffsetSpec.max_timestamp()})[partition].result()
        assert [answer.timestamp, answer.offset] == one["maxTimestamp"], name(one)
        records = consume(address, one, "read_uncommitted")
        found = [(m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or []) for m in records]
        assert found == expected_records(one), name(one)
        assert [m.offset() for m in consume(address, one, "read_committed")] == one["committed"], name(one)


def test_what_it_says(adopted):
    log = adopted.log()
    assert "took over a data folder of Apache Kafka" in log
    assert "cluster yTwcOs8QRdmW9BHxPjxkZg, node 0" in log
    assert re.search(r"11 topics, 28 partitions, 28 topic configs, 1 broker configs, 1 group configs", log)
    assert "producer ids go on from 2000" in log


def test_every_record(adopted):
    check_partitions(adopted.address)


@pytest.mark.parametrize("client", ["kafka-python", "java"])
def test_records_by_other_clients(adopted, client):
    one = CLIENTS[client](adopted.address)
    for expected in PARTITIONS:
        if not expected["uncommitted"]:
            continue
        records = expected_records(expected)
        found = one.consume(expected["topic"], len(records), partition=expected["partition"])
        assert [(r.offset, r.timestamp, r.key, r.value) for r in found] == [r[:4] for r in records], name(expected)
        for asked, offset, _ in expected["offsetsForTimes"][:4]:
            assert one.offset_for_time(expected["topic"], asked, expected["partition"]) == (offset if offset >= 0 else None)
    one.close()


def test_topic_configs(adopted):
    one = CLIENTS["confluent-kafka"](adopted.address)
    assert one.topics() >= {e["topic"] for e in EXPECTED}
    for expected in EXPECTED:
        configs = one.topic_configs(expected["topic"])
        for key, value in expected["config"].items():
            assert configs[key] == value, (expected["topic"], key)


def test_new_producer_ids(adopted, tmp_path):
    """None that Kafka may have given out: its next block begins at 2000."""
    one = CLIENTS["confluent-kafka"](adopted.address)
    one.create_topic("new-ids")
    one.produce("new-ids", [Record(value=b"x")], idempotent=True)
    segment = (adopted.data / "new-ids-0" / f"{0:020}.log").read_bytes()
    assert int.from_bytes(segment[43:51], "big") >= 2000
    one.delete_topic("new-ids")


def test_committed_offsets(adopted):
    for client in ("confluent-kafka", "kafka-python"):
        one = CLIENTS[client](adopted.address)
        for group, expected in GROUPS.items():
            for partition, committed in expected.get("offsets", {}).items():
                topic, index = partition.rsplit("-", 1)
                assert one.committed(group, topic, int(index)) == committed["offset"], (group, partition)
        one.close()


# -------------------------------------------------------------------------- once only, and what is refused


def test_a_second_start_takes_nothing_over_again(tmp_path):
    broker = kafka_broker(tmp_path, "clean")
    broker.start()
    one = CLIENTS["confluent-kafka"](broker.address)
    one.delete_topic("empty")
    one.create_topic("new")
    one.set_topic_configs("orders", {"retention.ms": "123456789012"})
    one.produce("orders", [Record(value=b"more", partition=1)])
    for how in ("stop", "kill"):
        broker.restart(how)
        one = CLIENTS["confluent-kafka"](broker.address)
        assert "empty" not in one.topics() and "new" in one.topics()
        assert one.topic_configs("orders")["retention.ms"] == "123456789012"
        assert one.offsets("orders", 1) == (0, 15)
        assert one.committed("simple", "orders", 1) == 3
    assert broker.log().count("took over a data folder") == 1
    broker.stop()


def test_kafka_must_not_run_in_between(tmp_path):
    broker = kafka_broker(tmp_path, "clean")
    broker.start()
    broker.stop()
    with open(broker.data / "__cluster_metadata-0" / f"{0:020}.log", "ab") as log:
        log.write(b"more")
    broker.launch()
    assert broker.process.wait(20) == 1
    broker.process = None
    assert "Apache Kafka has run on it since" in broker.log()
    # As it says:
    shutil.move(broker.data / "__cluster_metadata-0", tmp_path / "aside")
    broker.start()
    broker.stop()


def refused(broker, text):
    """Status 1, a line, and nothing changed in the folder."""

    def look():
        return {p.relative_to(broker.data): p.read_bytes() if p.is_file() else None for p in broker.data.rglob("*")}

    before = look()
    broker.launch()
    assert broker.process.wait(20) == 1
    broker.process = None
    line = broker.log().strip().splitlines()[-1]
    assert "FATAL" in line and str(broker.data) in line and text in line, line
    assert look() == before


def test_damaged_metadata_is_refused(tmp_path):
    broker = kafka_broker(tmp_path, "clean")
    log = broker.data / "__cluster_metadata-0" / f"{0:020}.log"
    whole = log.read_bytes()
    for damage in (
        whole[:-1],
        whole[:1000] + bytes([whole[1000] ^ 4]) + whole[1001:],
        whole[:20_000] + b"\0" * (len(whole) - 20_000),
        whole + b"\0" * 100,
    ):
        log.write_bytes(damage)
        refused(broker, "damaged")
    log.write_bytes(whole)
    snapshot = broker.data / "__cluster_metadata-0" / f"{0:020}-{0:010}.checkpoint"
    bytes_ = snapshot.read_bytes()
    snapshot.write_bytes(bytes_[:-80])
    refused(broker, "damaged")
    snapshot.write_bytes(bytes_)
    broker.start()
    broker.stop()


def test_other_folders_that_are_refused(tmp_path):
    broker = kafka_broker(tmp_path, "killed")
    broker.overrides["node.id"] = 1
    refused(broker, "node.id 0, not to 1")
    broker.overrides["node.id"] = 0
    for stray, text in (
        ("orders-0.0123456789abcdef0123456789abcdef-future", "half moved"),
        ("orders-9.0123456789abcdef0123456789abcdef-stray", "set aside"),
        ("gone-0", "belongs to no topic"),
    ):
        (broker.data / stray).mkdir()
        refused(broker, text)
        (broker.data / stray).rmdir()
    properties = broker.data / "meta.properties"
    text = properties.read_text()
    properties.unlink()
    refused(broker, "meta.properties")
    properties.write_text(text)
    broker.start()
    broker.stop()
