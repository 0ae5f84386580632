"""Data folders that Kafka 4.3 wrote (Tests/Vectors/kafka-folders): everything that Kafka's own clients saw in them."""

import json
import pathlib
import re
import shutil
import subprocess
import tarfile
import time

import confluent_kafka
import pytest
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from kafka import KafkaAdminClient

from support.broker import Broker, binary
from support.clients import CLIENTS, Record

VECTORS = pathlib.Path(__file__).parent.parent / "Vectors" / "kafka-folders"
KINDS = ["clean", "killed"]
EXPECTED = [json.loads(line) for line in (VECTORS / "expected.jsonl").read_text().splitlines()]
PARTITIONS = [one for one in EXPECTED if "uncommitted" in one]
GROUPS = json.loads((VECTORS / "groups.json").read_text())
TRANSACTIONS = json.loads((VECTORS / "transactions.json").read_text())
# Things expire by the clock: the records are of November 2026.
SETTINGS = {
    "node.id": 0,
    "offsets.retention.minutes": 50_000_000,
    "producer.id.expiration.ms": 2_000_000_000,
    "transactional.id.expiration.ms": 2_000_000_000,
    "group.initial.rebalance.delay.ms": 0,
    "group.consumer.max.session.timeout.ms": 3_600_000,
    "group.consumer.session.timeout.ms": 3_600_000,
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


@pytest.fixture
def python_admin(adopted):
    admin = KafkaAdminClient(bootstrap_servers=adopted.address)
    yield admin
    admin.close()


def test_groups_are_listed(python_admin):
    """Groups of every kind; of members those that were there when Kafka wrote last."""
    listed = {one["group_id"]: one for one in python_admin.list_groups()}
    assert set(listed) == set(GROUPS)
    for group, expected in GROUPS.items():
        assert listed[group]["group_state"] == expected["state"], group
        assert listed[group]["group_type"] == expected["type"].lower(), group
        assert listed[group]["protocol_type"] == expected["protocol"], group


def test_members_of_a_classic_group(python_admin):
    group = python_admin.describe_groups(["classic-live"])["classic-live"]
    found = {one["member_id"]: (one["group_instance_id"], one["client_id"], one["client_host"]) for one in group["members"]}
    expected = GROUPS["classic-live"]["members"]
    assert found == {one["memberId"]: (one["instanceId"], one["clientId"], one["host"]) for one in expected}


def test_every_offset_of_every_group(python_admin):
    """With its metadata and its leader epoch."""
    for group, expected in GROUPS.items():
        if "offsets" not in expected:
            continue
        seen = {
            f"{partition.topic}-{partition.partition}": {
                "offset": one.offset,
                "leaderEpoch": None if one.leader_epoch == -1 else one.leader_epoch,
                "metadata": one.metadata,
            }
            for partition, one in python_admin.list_group_offsets(group)[group].items()
        }
        assert seen == expected["offsets"], group


def test_offsets_of_the_open_transaction(adopted):
    """tx-open has committed for orders-1 and orders-2 of txn-group and has not ended: UNSTABLE_OFFSET_COMMIT for who
    requires stable ones, as Kafka's coordinator answers. The lists of `unstable` offsets in groups.json are empty all the
    same: Kafka's Java client, which recorded them, leaves out what has an error (`Skipping return offset ...`)."""
    admin = AdminClient({"bootstrap.servers": adopted.address})
    asked = [TopicPartition("orders", partition) for partition in range(3)]

    def fetch(stable):
        request = [confluent_kafka.ConsumerGroupTopicPartitions("txn-group", asked)]
        (found,) = [f.result() for f in admin.list_consumer_group_offsets(request, require_stable=stable).values()]
        return {one.partition: one for one in found.topic_partitions}

    assert [fetch(False)[p].offset for p in (0, 1)] == [8, 4]
    found = fetch(True)
    assert found[0].offset == 8 and found[0].error is None
    for partition in (1, 2):
        assert found[partition].error.code() == confluent_kafka.KafkaError.UNSTABLE_OFFSET_COMMIT


@pytest.mark.parametrize("kind", KINDS)
def test_written_to_and_restarted(kind, tmp_path):
    """All is still there after more was written, a clean end, a kill, and both again."""
    broker = kafka_broker(tmp_path, kind)
    broker.start()
    added = {}
    for round_, how in enumerate(["stop", "kill", "stop"]):
        one = CLIENTS["confluent-kafka"](broker.address)
        for expected in PARTITIONS:
            key = (expected["topic"], expected["partition"])
            value = f"round {round_} of {key}".encode()
            # Of a time after all others, so that look-ups by time stay what they were.
            record = Record(value=value, key=f"new-{round_}".encode(), partition=key[1])
            codec = ["none", "lz4", "zstd"][round_]
            offset = one.produce(key[0], [record], codec=codec, idempotent=round_ != 1)[0]
            assert offset == expected["endOffset"] + len(added.setdefault(key, [])), key
            added[key].append(value)
        one.commit("simple", "orders", 10 + round_, 1)
        broker.restart(how)
        for expected in PARTITIONS:
            key = (expected["topic"], expected["partition"])
            found = consume(broker.address, expected, "read_uncommitted")
            wanted = expected_records(expected)
            assert [(m.offset(), m.timestamp()[1], m.key(), m.value()) for m in found[: len(wanted)]] == [
                r[:4] for r in wanted
            ], key
            assert [m.value() for m in found[len(wanted) :]] == added[key], key
            committed = [m.offset() for m in consume(broker.address, expected, "read_committed")]
            assert committed[: len(expected["committed"])] == expected["committed"], key
            open_transaction = expected["lastStableOffset"] < expected["endOffset"]
            assert len(committed) == len(expected["committed"]) + (0 if open_transaction else len(added[key])), key
        one = CLIENTS["confluent-kafka"](broker.address)
        assert one.committed("simple", "orders", 1) == 10 + round_
        assert one.committed("consumer-static", "orders", 0) == 10
        assert one.committed("classic-empty", "orders", 2) == 12
    broker.stop()


def dumped(data, topic):
    """Key and value of each record of an internal topic, as `ottla log dump` puts them into words."""
    words = [binary(), "log", "dump", "--json", "--print-data-log", *sorted(data.glob(f"{topic}-*/*.log"))]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    records = [one for one in map(json.loads, lines) if one["type"] == "record" and "key" in one]
    return [(one["key"]["data"], (one["payload"] or {}).get("data")) for one in records]


@pytest.mark.parametrize("kind", KINDS)
def test_transactional_ids_and_share_groups(kind, tmp_path):
    """What the records of both are, after the folder was taken over, is what Kafka's clients were told."""
    broker = kafka_broker(tmp_path, kind)
    broker.start()
    broker.stop()
    states = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"]
    found = {}
    for key, value in dumped(broker.data, "__transaction_state"):
        started = value["transactionStartTimestampMs"]
        found[key["transactionalId"]] = {
            "state": states[value["transactionStatus"]],
            "producerId": value["producerId"],
            "producerEpoch": value["producerEpoch"],
            "timeoutMs": value["transactionTimeoutMs"],
            "startTimeMs": None if started < 0 else started,
            "partitions": sorted(
                f"{one['topic']}-{number}"
                for one in value["transactionPartitions"] or []
                for number in one["partitionIds"]
            ),
        }
    assert found == TRANSACTIONS["transactionalIds"]

    offsets = {}
    for key, value in dumped(broker.data, "__share_group_state"):
        state = offsets.setdefault((key["groupId"], key["topicId"], key["partition"]), {})
        state.update({name: value[name] for name in value if value[name] != -1})
    (orders,) = {e["topicId"] for e in EXPECTED if e["topic"] == "orders"}
    for group, expected in GROUPS.items():
        for partition, wanted in expected.get("shareOffsets", {}).items():
            number = int(partition.rsplit("-", 1)[1])
            state = offsets.get((group, orders, number), {})
            (end,) = [e["endOffset"] for e in EXPECTED if name(e) == partition]
            assert state.get("startOffset") == wanted["startOffset"], partition
            if wanted["startOffset"] is not None:
                assert state["leaderEpoch"] == wanted["leaderEpoch"]
                assert end - state["startOffset"] - state["deliveryCompleteCount"] == wanted["lag"]


def newest(records):
    """The last record of each key, which compaction must keep."""
    return {r[2]: r for r in records}


def wait_until_cleaned(broker, *partitions):
    end = time.monotonic() + 60
    while missing := [p for p in partitions if f"{p}: cleaned" not in broker.log()]:
        assert time.monotonic() < end, f"{missing} are not compacted:\n{broker.tail()}"
        time.sleep(0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_written_to_compacted_and_restarted(kind, tmp_path):
    """Segments that Kafka wrote and ours are compacted together: the last record of each key stays, at its offset, and
    so do committed offsets, groups and what a transaction holds open."""
    broker = kafka_broker(tmp_path, kind, **{"log.cleaner.backoff.ms": 100})
    broker.start()
    one = CLIENTS["confluent-kafka"](broker.address)
    one.set_topic_configs(
        "__consumer_offsets",
        {"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01"},
    )
    compacted = [expected for expected in PARTITIONS if expected["topic"] == "compacted"]
    written = {name(expected): expected_records(expected) for expected in compacted}
    codecs = ["none", "zstd", "lz4"]
    for round_ in range(3):
        for expected in compacted:
            keys = [r[2] for r in expected_records(expected)]
            records = [
                Record(value=f"{round_}-{i}".encode() * 20, key=key, partition=expected["partition"])
                # Other keys in each round, so that Kafka's records of some stay, and one that is deleted.
                for i, key in enumerate([*keys[round_ * 2 : round_ * 2 + 4], b"new"])
            ]
            records.append(Record(value=None, key=keys[-1], partition=expected["partition"]))
            offsets = one.produce("compacted", records, codec=codecs[round_], idempotent=round_ == 1)
            written[name(expected)] += [
                (offset, None, r.key, r.value, []) for offset, r in zip(offsets, records, strict=True)
            ]
        # Groups of all five partitions, some of them new.
        for group in ["simple", *(f"group-{i}" for i in range(20))]:
            one.commit(group, "orders", round_ + 5, 2)
        time.sleep(1.1)
    # The last roll.
    for expected in compacted:
        (offset,) = one.produce("compacted", [Record(value=b"x", key=b"end", partition=expected["partition"])])
        written[name(expected)].append((offset, None, b"end", b"x", []))
    for i in range(20):
        one.commit(f"group-{i}", "orders", 9, 2)
    # In partition 4 a transaction is open, in the first segment: nothing behind it may be touched.
    wait_until_cleaned(broker, *written, *(f"__consumer_offsets-{i}" for i in range(4)))
    assert "__consumer_offsets-4: cleaned" not in broker.log()

    def check():
        for expected in compacted:
            all_of_them, found = written[name(expected)], consume(broker.address, expected, "read_committed")
            known = {r[0]: r for r in all_of_them}
            for message in found:
                offset, timestamp, key, value, headers = known[message.offset()]
                assert (message.key(), message.value(), message.headers() or []) == (key, value, headers)
                assert timestamp is None or message.timestamp()[1] == timestamp
            offsets = [m.offset() for m in found]
            assert offsets == sorted(set(offsets))
            assert set(offsets) >= {r[0] for r in newest(all_of_them).values()}, name(expected)
            assert len(offsets) < len(all_of_them), name(expected)
        client = CLIENTS["confluent-kafka"](broker.address)
        for group, expected in GROUPS.items():
            for partition, committed in expected.get("offsets", {}).items():
                topic, index = partition.rsplit("-", 1)
                if (group, partition) != ("simple", "orders-2"):
                    assert client.committed(group, topic, int(index)) == committed["offset"], (group, partition)
        assert client.committed("simple", "orders", 2) == 7
        assert [client.committed(f"group-{i}", "orders", 2) for i in range(20)] == [9] * 20
        request = [confluent_kafka.ConsumerGroupTopicPartitions("txn-group", [TopicPartition("orders", 2)])]
        admin = AdminClient({"bootstrap.servers": broker.address})
        (found,) = [f.result() for f in admin.list_consumer_group_offsets(request, require_stable=True).values()]
        assert found.topic_partitions[0].error.code() == confluent_kafka.KafkaError.UNSTABLE_OFFSET_COMMIT

    check()
    for how in ("stop", "kill", "stop"):
        broker.restart(how)
        check()
    broker.stop()
    subprocess.run([binary(), "log", "verify", broker.data], check=True)


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
