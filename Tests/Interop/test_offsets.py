"""Offsets that are committed in transactions (KIP-447), and what else happens to committed offsets."""

import time
import uuid

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from support.clients import LIBRARIES, Record

BROKER_OVERRIDES = {"transaction.state.log.num.partitions": 4}


def producer(clients, name, **more):
    one = Producer(
        {
            "bootstrap.servers": clients("confluent-kafka").address,
            "transactional.id": name,
            "transaction.timeout.ms": 30000,
            "linger.ms": 0,
            **more,
        }
    )
    one.init_transactions(30)
    return one


def member(clients, group, topic):
    """A consumer that is a member of the group and has its partitions."""
    one = Consumer(
        {
            "bootstrap.servers": clients("confluent-kafka").address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "isolation.level": "read_committed",
        }
    )
    one.subscribe([topic])
    end = time.monotonic() + 30
    while not one.assignment() and time.monotonic() < end:
        one.poll(0.1)
    assert one.assignment()
    return one


def committed(clients, group, topic, stable, partition=0):
    """The offset, None where there is none, or the error's name."""
    admin = AdminClient({"bootstrap.servers": clients("confluent-kafka").address})
    asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition)])]
    try:
        (answer,) = admin.list_consumer_group_offsets(asked, require_stable=stable).values()
        (found,) = answer.result(10).topic_partitions
    except KafkaException as error:
        return error.args[0].name()
    if found.error:
        return found.error.name()
    return found.offset if found.offset >= 0 else None


def test_offsets_in_a_transaction_count_when_it_is_committed(clients, topic):
    one, group = clients("confluent-kafka"), f"{topic}-group"
    one.create_topic(topic, 1)
    consumer = member(clients, group, topic)
    sender = producer(clients, f"{topic}-sender")
    try:
        for offset, end in ((5, sender.commit_transaction), (8, sender.abort_transaction), (9, sender.commit_transaction)):
            before = committed(clients, group, topic, stable=False)
            sender.begin_transaction()
            sender.produce(topic, b"x")
            sender.send_offsets_to_transaction(
                [TopicPartition(topic, 0, offset)], consumer.consumer_group_metadata(), 20
            )
            assert committed(clients, group, topic, stable=False) == before
            assert committed(clients, group, topic, stable=True) == "UNSTABLE_OFFSET_COMMIT"
            end(20)
            wanted = offset if end == sender.commit_transaction else before
            limit = time.monotonic() + 10
            while committed(clients, group, topic, stable=True) != wanted and time.monotonic() < limit:
                time.sleep(0.02)
            assert committed(clients, group, topic, stable=True) == wanted
            assert committed(clients, group, topic, stable=False) == wanted
        for name in LIBRARIES:
            assert clients(name).committed(group, topic) == 9, name
    finally:
        consumer.close()


def test_a_member_of_another_generation_is_fenced(clients, topic):
    """A zombie: its group has rebalanced, and it commits what it once read."""
    one, group = clients("confluent-kafka"), f"{topic}-group"
    one.create_topic(topic, 1)
    consumer = member(clients, group, topic)
    stale = consumer.consumer_group_metadata()
    consumer.close()
    successor = member(clients, group, topic)
    sender = producer(clients, f"{topic}-sender")
    try:
        sender.begin_transaction()
        with pytest.raises(KafkaException) as caught:
            sender.send_offsets_to_transaction([TopicPartition(topic, 0, 5)], stale, 20)
        assert caught.value.args[0].txn_requires_abort()
        sender.abort_transaction(20)
        assert committed(clients, group, topic, stable=True) is None
        sender.begin_transaction()
        sender.send_offsets_to_transaction([TopicPartition(topic, 0, 6)], successor.consumer_group_metadata(), 20)
        sender.commit_transaction(20)
        limit = time.monotonic() + 10
        while committed(clients, group, topic, stable=True) != 6 and time.monotonic() < limit:
            time.sleep(0.02)
        assert committed(clients, group, topic, stable=True) == 6
    finally:
        successor.close()


def test_a_consumer_waits_for_the_transaction_before_it_begins(clients, topic):
    """It takes over a partition of which the offset is about to change: the records before it are not read twice."""
    one, group = clients("confluent-kafka"), f"{topic}-group"
    one.produce(topic, [Record(value=b"%d" % i) for i in range(10)])
    first = member(clients, group, topic)
    sender = producer(clients, f"{topic}-sender")
    sender.begin_transaction()
    sender.send_offsets_to_transaction([TopicPartition(topic, 0, 7)], first.consumer_group_metadata(), 20)
    first.close()
    second = member(clients, group, topic)
    try:
        assert second.poll(1.5) is None
        sender.commit_transaction(20)
        message = second.poll(20)
        assert message is not None and message.error() is None and message.offset() == 7
    finally:
        second.close()


def test_an_open_transaction_survives_a_kill_of_the_broker(make_broker):
    """Its offsets are pending still, and count once it is committed."""
    broker = make_broker()
    broker.start()

    def clients(name):
        from support.clients import CLIENTS

        return CLIENTS[name](broker.address)

    topic = f"orders-{uuid.uuid4().hex[:8]}"
    clients("confluent-kafka").create_topic(topic, 1)
    consumer = member(clients, "group", topic)
    sender = producer(clients, "sender")
    sender.begin_transaction()
    sender.produce(topic, b"x")
    sender.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], consumer.consumer_group_metadata(), 20)
    sender.flush(20)
    broker.kill()
    broker.start()
    try:
        limit = time.monotonic() + 20
        while committed(clients, "group", topic, stable=True) != "UNSTABLE_OFFSET_COMMIT":
            assert time.monotonic() < limit
            time.sleep(0.1)
        sender.commit_transaction(30)
        while committed(clients, "group", topic, stable=True) != 3:
            assert time.monotonic() < limit + 20
            time.sleep(0.1)
    finally:
        consumer.close()


def test_pending_offsets_go_with_their_topic(clients, topic):
    one, group = clients("confluent-kafka"), f"{topic}-group"
    one.create_topic(topic, 1)
    one.create_topic(f"{topic}-kept", 1)
    consumer = member(clients, group, f"{topic}-kept")
    sender = producer(clients, f"{topic}-sender")
    try:
        sender.begin_transaction()
        sender.send_offsets_to_transaction(
            [TopicPartition(topic, 0, 3), TopicPartition(f"{topic}-kept", 0, 4)], consumer.consumer_group_metadata(), 20
        )
        one.delete_topic(topic)
        limit = time.monotonic() + 10
        while committed(clients, group, topic, stable=True) is not None and time.monotonic() < limit:
            time.sleep(0.05)
        sender.commit_transaction(20)
        while committed(clients, group, f"{topic}-kept", stable=True) != 4 and time.monotonic() < limit + 10:
            time.sleep(0.05)
        assert committed(clients, group, f"{topic}-kept", stable=True) == 4
        assert committed(clients, group, topic, stable=False) is None
    finally:
        consumer.close()


