"""Transactions with real clients: committed records are seen, all others are not, whoever dies when."""

import asyncio
import collections
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from support import wire
from support.clients import LIBRARIES

BROKER_OVERRIDES = {
    "transaction.state.log.num.partitions": 4,
    "offsets.topic.num.partitions": 4,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
}
COMMITTED = {"isolation.level": "read_committed"}


def producer(broker, name, **config):
    one = Producer(
        {
            "bootstrap.servers": broker.address,
            "transactional.id": name,
            "linger.ms": 0,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
            **{key.replace("_", "."): value for key, value in config.items()},
        }
    )
    one.init_transactions(30)
    return one


def read(broker, topic, partitions=1, isolation="read_committed", timeout=20.0):
    """Everything up to the end as this reader sees it: values by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    values = {index: [] for index in range(partitions)}
    ended = set()
    deadline = time.monotonic() + timeout
    while len(ended) < partitions:
        assert time.monotonic() < deadline, f"the end is not reached: {ended} of {partitions}"
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            ended.add(message.partition())
        else:
            values[message.partition()].append(message.value())
    consumer.close()
    return values


def wait_until_ended(broker, topic, partition=0, timeout=20.0):
    """Until no transaction is open: readers of committed records get to the end."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "look", **COMMITTED, "log_level": 0})
    everything = Consumer({"bootstrap.servers": broker.address, "group.id": "look", "log_level": 0,
                           "isolation.level": "read_uncommitted"})
    deadline = time.monotonic() + timeout
    where = TopicPartition(topic, partition)
    while True:
        stable = consumer.get_watermark_offsets(where, 10)[1]
        end = everything.get_watermark_offsets(where, 10)[1]
        if stable == end:
            break
        assert time.monotonic() < deadline, f"last stable offset {stable}, end {end}"
        time.sleep(0.02)
    consumer.close()
    everything.close()


@pytest.mark.parametrize("client", LIBRARIES)
def test_each_client_commits(broker, clients, topic, client):
    one = clients(client)
    one.create_topic(topic)
    one.transaction(topic)
    wait_until_ended(broker, topic)
    setting = "isolation_level" if client in ("kafka-python", "aiokafka") else "isolation.level"
    consumed = one.consume(topic, 1, config={setting: "read_committed"})
    assert [record.value for record in consumed] == [b"in a transaction"]
    assert read(broker, topic)[0] == [b"in a transaction"]


def test_aborted_and_open_transactions_are_not_seen(broker, clients, topic):
    clients("confluent-kafka").create_topic(topic, 3)
    one, other = producer(broker, f"{topic}-1"), producer(broker, f"{topic}-2")
    expected = collections.defaultdict(list)
    for number in range(12):
        for who, name in ((one, "one"), (other, "other")):
            who.begin_transaction()
            for partition in range(3):
                who.produce(topic, f"{name}-{number}".encode(), partition=partition)
            who.flush(10)
        one.commit_transaction(10)
        if number % 3 == 0:
            other.commit_transaction(10)
        else:
            other.abort_transaction(10)
        for partition in range(3):
            if number % 3 == 0:
                expected[partition].append(f"other-{number}".encode())
            expected[partition].append(f"one-{number}".encode())
    one.begin_transaction()
    one.produce(topic, b"open", partition=0)
    one.flush(10)
    seen = read(broker, topic, 3)
    for partition in range(3):
        assert sorted(seen[partition]) == sorted(expected[partition])
    # Who asks for everything gets it: 24 a partition, and the one that is open.
    everything = read(broker, topic, 3, isolation="read_uncommitted")
    assert [len(everything[partition]) for partition in range(3)] == [25, 24, 24]
    one.abort_transaction(10)


def test_a_zombie_is_fenced(broker, clients, topic):
    clients("confluent-kafka").create_topic(topic)
    zombie = producer(broker, topic)
    zombie.begin_transaction()
    zombie.produce(topic, b"of the zombie")
    zombie.flush(10)
    new = producer(broker, topic)
    with pytest.raises(KafkaException) as caught:
        zombie.commit_transaction(10)
    assert caught.value.args[0].fatal()
    new.begin_transaction()
    new.produce(topic, b"of the new one")
    new.commit_transaction(10)
    wait_until_ended(broker, topic)
    assert read(broker, topic)[0] == [b"of the new one"]


def test_a_transaction_times_out(broker, clients, topic):
    clients("confluent-kafka").create_topic(topic)
    one = producer(broker, topic, transaction_timeout_ms=1000)
    one.begin_transaction()
    one.produce(topic, b"too late")
    one.flush(10)
    wait_until_ended(broker, topic)
    with pytest.raises(KafkaException):
        one.commit_transaction(10)
    assert read(broker, topic)[0] == []


def test_aiokafka_fences_and_aborts(broker, clients, topic):
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import ProducerFenced

    clients("confluent-kafka").create_topic(topic)

    async def run():
        one = AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id=topic)
        await one.start()
        with pytest.raises(ZeroDivisionError):
            async with one.transaction():
                await one.send_and_wait(topic, b"aborted")
                raise ZeroDivisionError
        async with one.transaction():
            await one.send_and_wait(topic, b"committed")
        two = AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id=topic)
        await two.start()
        with pytest.raises(ProducerFenced):
            async with one.transaction():
                await one.send_and_wait(topic, b"of a zombie")
        await two.stop()
        await one.stop()

    asyncio.run(run())
    wait_until_ended(broker, topic)
    assert read(broker, topic)[0] == [b"committed"]


@pytest.mark.parametrize("way", ["stop", "kill"])
@pytest.mark.parametrize("state", ["empty", "ongoing", "ended"])
def test_restart(make_broker, way, state):
    """The broker is ended in each state, and the producer goes on as if nothing had been."""
    broker = make_broker(BROKER_OVERRIDES)
    broker.start()
    with wire.Connection(broker.port) as connection:
        connection.create_topic("t")
    one = producer(broker, "tx")
    if state != "empty":
        one.begin_transaction()
        one.produce("t", b"before")
        one.flush(10)
    if state == "ended":
        one.commit_transaction(10)
    getattr(broker, way)()
    broker.start()
    if state != "ongoing":
        one.begin_transaction()
    one.produce("t", b"after")
    one.commit_transaction(30)
    wait_until_ended(broker, "t")
    assert read(broker, "t")[0] == ([b"before"] if state != "empty" else []) + [b"after"]
    # The next instance is another epoch of the same producer.
    next_one = producer(broker, "tx")
    next_one.begin_transaction()
    next_one.produce("t", b"next")
    next_one.commit_transaction(10)
    with pytest.raises(KafkaException):
        one.begin_transaction()
        one.produce("t", b"zombie")
        one.commit_transaction(10)
    wait_until_ended(broker, "t")
    assert read(broker, "t")[0][-1] == b"next"
