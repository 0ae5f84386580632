"""Each client writes and reads: codecs, keys, null values, headers, timestamps, seeking, acks."""

import random
import subprocess
import time

import pytest

from support import logfile
from support.clients import CLIENTS, LIBRARIES, Record
from support.clients.kcat import kcat

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
HOUR = 3_600_000


def texts(count, size=200, seed=1):
    """Records that a codec can make smaller; a client keeps a batch plain that would grow."""
    words = random.Random(seed)
    return [
        Record(value=(f"{i} " + " ".join(words.choice(["broker", "log", "offset"]) for _ in range(size // 6))).encode())
        for i in range(count)
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", CLIENTS)
def test_codec(broker, clients, topic, client, codec):
    one = clients(client)
    kcat(broker.address, "-L", "-t", topic)  # made on first use
    sent = texts(500)
    offsets = one.produce(topic, sent, codec=codec)
    assert offsets in ([-1] * 500, list(range(500)))

    assert set(logfile.codecs(broker.data, topic)) == {codec}
    got = one.consume(topic, 500)
    assert [r.value for r in got] == [r.value for r in sent]
    assert [r.offset for r in got] == list(range(500))


@pytest.mark.parametrize("codec", CODECS)
def test_every_client_reads_what_every_client_wrote(broker, clients, topic, codec):
    sent = []
    for seed, name in enumerate(CLIENTS):
        batch = texts(20, seed=seed)
        clients(name).produce(topic, batch, codec=codec)
        sent += batch
    for name in CLIENTS:
        got = clients(name).consume(topic, len(sent))
        assert [r.value for r in got] == [r.value for r in sent], name


@pytest.mark.parametrize("client", CLIENTS)
def test_keys_nulls_headers(clients, topic, client):
    one = clients(client)
    sent = [
        Record(value=b"plain"),
        Record(key=b"key", value=b"value"),
        Record(key=b"tombstone", value=None),
        Record(key=b"k", value=b"v", headers=[("first", b"1"), ("second", b"2"), ("first", b"again")]),
        Record(key="schlüssel".encode(), value="wert ✓".encode(), headers=[("kopf", "zeile ✓".encode())]),
    ]
    if client != "kcat":  # which has no words for these
        sent += [
            Record(key=b"", value=b""),
            Record(value=b"h", headers=[("empty", b"")]),
            Record(value=bytes(range(256))),
            Record(key=b"large", value=random.Random(7).randbytes(900_000)),
        ]
    if client not in ("kcat", "kafka-python"):  # which refuse it themselves
        sent.append(Record(value=b"h", headers=[("null", None), ("more", b"1")]))
    one.produce(topic, sent)
    got = one.consume(topic, len(sent))
    assert [r.content() for r in got] == [r.content() for r in sent]
    # And as another library sees them.
    other = "java" if client == "confluent-kafka" else "confluent-kafka"
    assert [r.content() for r in clients(other).consume(topic, len(sent))] == [r.content() for r in sent]


@pytest.mark.parametrize("client", LIBRARIES)
def test_timestamps_and_seeking(clients, topic, client):
    one = clients(client)
    base = int(time.time() * 1000) - 5 * HOUR
    # One batch a record, so that looking up by time has batches to choose from; then three in one batch.
    times = [base + i * HOUR for i in range(4)]
    for i, timestamp in enumerate(times):
        one.produce(topic, [Record(value=b"%d" % i, timestamp=timestamp)])
    late = base + 4 * HOUR
    one.produce(topic, [Record(value=b"%d" % (4 + i), timestamp=late + 10 * i) for i in range(3)])

    got = one.consume(topic, 7)
    assert [r.timestamp for r in got] == [*times, late, late + 10, late + 20]
    assert {r.timestamp_type for r in got} == {"create"}

    assert one.offsets(topic) == (0, 7)
    assert one.offset_for_time(topic, 0) == 0
    for i, timestamp in enumerate(times):
        assert one.offset_for_time(topic, timestamp) == i
        assert one.offset_for_time(topic, timestamp + 1) == i + 1
    assert one.offset_for_time(topic, late + 1) == 5, "inside a batch"
    assert one.offset_for_time(topic, late + 20) == 6
    assert one.offset_for_time(topic, late + 21) is None

    assert [r.value for r in one.consume(topic, 2, start=5)] == [b"5", b"6"]
    assert [r.value for r in one.consume(topic, 1, start="earliest")] == [b"0"]
    assert one.consume(topic, 1, start="latest", timeout=1.5) == []


def test_kcat_seeks_by_time(broker, clients, topic):
    base = int(time.time() * 1000) - HOUR
    clients("confluent-kafka").produce(topic, [Record(value=b"%d" % i, timestamp=base + i * 1000) for i in range(10)])
    one = clients("kcat")
    assert one.offsets(topic) == (0, 10)
    assert one.offset_for_time(topic, base + 4500) == 5
    assert one.offset_for_time(topic, base + 9001) is None
    out = kcat(broker.address, "-C", "-t", topic, "-p", "0", "-o", f"s@{base + 7000}", "-e", "-q")
    assert out.split() == [b"7", b"8", b"9"]


def test_kcat_lists_produces_and_consumes(broker, topic):
    """What the README shows."""
    kcat(broker.address, "-P", "-t", topic, stdin=b"hello\nworld\n")
    assert topic in kcat(broker.address, "-L").decode()
    assert kcat(broker.address, "-C", "-t", topic, "-e", "-q") == b"hello\nworld\n"


def test_java_knows_every_special_offset(clients, topic):
    java, now = clients("java"), int(time.time() * 1000)
    java.produce(topic, [Record(value=b"", timestamp=now + t) for t in (0, 50, 20)])
    found = java.special_offsets(topic)
    assert found["earliest"] == 0
    assert found["latest"] == 3
    assert found["max-timestamp"] == 1
    assert found["earliest-local"] == 0
    assert found["latest-tiered"] == -1


@pytest.mark.parametrize("acks", ["0", "1", "all"])
@pytest.mark.parametrize("client", CLIENTS)
def test_acks(clients, topic, client, acks):
    one = clients(client)
    one.produce(topic, [Record(value=b"first")])  # the topic is there, for whom nobody would tell otherwise
    one.produce(topic, texts(50), acks=acks)
    assert len(one.consume(topic, 51)) == 51


@pytest.mark.parametrize("client", CLIENTS)
def test_idempotent_producer(broker, clients, topic, client):
    one = clients(client)
    one.produce(topic, [Record(value=b"%d" % i) for i in range(2000)], idempotent=True)
    assert [r.value for r in one.consume(topic, 2000)] == [b"%d" % i for i in range(2000)]
    stored = list(logfile.batches(broker.data / f"{topic}-0"))
    assert all(b.producer_id >= 0 and b.epoch >= 0 for b in stored)
    sequence = 0
    for each in stored:
        assert each.sequence == sequence
        sequence += each.count


@pytest.mark.parametrize("client", LIBRARIES)
def test_topics_are_made_on_first_use(clients, topic, client):
    one = clients(client)
    assert topic not in one.topics()
    assert one.produce(topic, [Record(value=b"first")]) == [0]
    assert topic in one.topics()
    assert one.partitions(topic) == 1


def test_no_topic_is_made_where_that_is_off(make_broker):
    broker = make_broker({"auto.create.topics.enable": "false"})
    broker.start()
    done = subprocess.run(
        ["kcat", "-b", broker.address, "-P", "-t", "absent", "-X", "message.timeout.ms=3000"],
        input=b"x\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert CLIENTS["kcat"](broker.address).topics() <= {"__consumer_offsets"}


def test_many_partitions_one_consumer(clients, topic):
    """Every partition of a topic is read, none starves the others."""
    one = clients("confluent-kafka")
    one.create_topic(topic, 24)
    one.produce(topic, [Record(value=b"x" * 1000, partition=i % 24) for i in range(24 * 200)])
    got = one.subscribe(topic, f"{topic}-group", 24 * 200, timeout=30)
    assert sorted({(r.partition, r.offset) for r in got}) == [(p, o) for p in range(24) for o in range(200)]


@pytest.mark.parametrize("client", LIBRARIES)
def test_offset_out_of_range_goes_where_the_client_says(clients, topic, client):
    one = clients(client)
    one.produce(topic, texts(5))
    name = {"confluent-kafka": "auto.offset.reset", "java": "auto.offset.reset"}.get(client, "auto_offset_reset")
    got = one.consume(topic, 5, start=1000, config={name: "earliest"})
    assert [r.offset for r in got] == [0, 1, 2, 3, 4]
