"""Idempotent producers whose connections are cut leave no duplicate and no gap."""

import threading
import time

import pytest

from support import logfile, wire
from support.broker import free_port
from support.clients import CLIENTS, LIBRARIES
from support.proxy import CuttingProxy

PARTITIONS = 4
COUNT = 4000


@pytest.fixture
def cut(make_broker):
    """A broker that is reached through a proxy only, and the proxy."""
    port = free_port()
    broker = make_broker({"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"})
    broker.start()
    with CuttingProxy(port, broker.port, mean_bytes=8_000) as proxy:
        yield broker, proxy


def check(broker, topic):
    """Every partition holds 0, 1, 2 ... once each."""
    direct = wire.Connection(broker.port)
    one = CLIENTS["kafka-python"]  # any that can start without the proxy: the proxy no longer cuts
    for partition in range(PARTITIONS):
        expected = COUNT // PARTITIONS
        assert direct.end_offset(topic, partition) == expected, f"partition {partition}"
        values = [int(r.value) for r in one(broker.address).consume(topic, expected, partition=partition)]
        assert values == list(range(expected)), f"partition {partition}"
        sequences = [(b.sequence, b.count) for b in logfile.batches(broker.data / f"{topic}-{partition}")]
        assert all(sequence >= 0 for sequence, _ in sequences)
    direct.close()


def test_confluent(cut):
    from confluent_kafka import Producer

    broker, proxy = cut
    with wire.Connection(broker.port) as connection:
        connection.create_topic("cut", PARTITIONS)
    producer = Producer(
        {
            "bootstrap.servers": f"127.0.0.1:{proxy.port}",
            "enable.idempotence": True,
            "linger.ms": 1,
            "batch.size": 2000,
            "reconnect.backoff.ms": 1,
            "reconnect.backoff.max.ms": 20,
            "retry.backoff.ms": 10,
            "log_level": 0,
        }
    )
    failures = []
    for i in range(COUNT):
        producer.produce(
            "cut",
            b"%d" % (i // PARTITIONS),
            partition=i % PARTITIONS,
            on_delivery=lambda error, _: error and failures.append(str(error)),
        )
        if i % 50 == 0:
            producer.poll(0.005)
    assert producer.flush(90) == 0
    proxy.cutting = False
    assert failures == []
    assert proxy.cuts > 2, "the test did not do what it is for"
    check(broker, "cut")


def test_java(cut):
    from support.clients import Record

    broker, proxy = cut
    with wire.Connection(broker.port) as connection:
        connection.create_topic("cut", PARTITIONS)
    java = CLIENTS["java"](f"127.0.0.1:{proxy.port}")
    records = [Record(value=b"%d" % (i // PARTITIONS), partition=i % PARTITIONS) for i in range(COUNT)]
    java.produce(
        "cut",
        records,
        idempotent=True,
        config={"batch.size": 500, "linger.ms": 0, "reconnect.backoff.ms": 1, "reconnect.backoff.max.ms": 20},
    )
    proxy.cutting = False
    java.close()
    assert proxy.cuts > 2
    check(broker, "cut")


@pytest.mark.parametrize("client", ["kafka-python", "aiokafka"])
def test_python(cut, client):
    from support.clients import Record

    broker, proxy = cut
    with wire.Connection(broker.port) as connection:
        connection.create_topic("cut", PARTITIONS)
    backoff = {"reconnect_backoff_ms": 1, "reconnect_backoff_max_ms": 20} if client == "kafka-python" else {}
    size = {"batch_size": 2000} if client == "kafka-python" else {"max_batch_size": 2000}
    one = CLIENTS[client](f"127.0.0.1:{proxy.port}")
    records = [Record(value=b"%d" % (i // PARTITIONS), partition=i % PARTITIONS) for i in range(COUNT)]
    # To begin in peace: what is tested is a producer's retries, not how a library starts.
    proxy.cutting = False
    timer = threading.Timer(0.3, lambda: setattr(proxy, "cutting", True))
    timer.start()
    time.sleep(0)
    one.produce("cut", records, idempotent=True, config={**backoff, **size, "retry_backoff_ms": 10})
    timer.cancel()
    proxy.cutting = False
    one.close()
    check(broker, "cut")


def test_sequences(broker, topic):
    """The rules over the last five batches, said by hand."""
    out_of_order, invalid_epoch = 45, 47
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        error, producer, epoch = connection.init_producer_id()
        assert (error, epoch) == (0, 0)

        def send(sequence, count=1, epoch=0):
            records = wire.batch([b"x"] * count, producer=producer, epoch=epoch, sequence=sequence)
            return connection.produce(topic, 0, records)

        assert send(0, 2) == (0, 0)
        assert send(2) == (0, 2)
        assert send(0, 2) == (0, 0), "a duplicate is answered with its old offset"
        assert send(4)[0] == out_of_order, "a gap"
        for i in range(3, 8):
            assert send(i) == (0, i)
        assert send(3) == (0, 3), "the fifth last is still known"
        assert send(2)[0] != 0, "what is older is not"
        assert send(0, epoch=1) == (0, 8), "a new epoch begins at 0"
        assert send(8, epoch=0)[0] == invalid_epoch, "INVALID_PRODUCER_EPOCH"
        assert connection.end_offset(topic, 0) == 9


def test_sequences_after_a_restart(make_broker):
    """What a producer sends again after a crash is known as a duplicate."""
    for how in ("stop", "kill"):
        broker = make_broker(name=how)
        broker.start()
        with wire.Connection(broker.port) as connection:
            connection.create_topic("t")
            _, producer, _ = connection.init_producer_id()
            for i in range(3):
                records = wire.batch([b"%d" % i], producer=producer, epoch=0, sequence=i)
                assert connection.produce("t", 0, records) == (0, i)
        broker.restart(how)
        with wire.Connection(broker.port) as connection:
            assert connection.produce("t", 0, wire.batch([b"2"], producer=producer, epoch=0, sequence=2)) == (0, 2)
            assert connection.produce("t", 0, wire.batch([b"3"], producer=producer, epoch=0, sequence=3)) == (0, 3)
            assert connection.end_offset("t", 0) == 4
            assert connection.init_producer_id()[1] > producer, "an id is given out once"


assert set(LIBRARIES) == {"confluent-kafka", "kafka-python", "aiokafka", "java"}, "a client without a test here"
