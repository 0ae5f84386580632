"""ottla.flush.before.ack with a real client: produce, kill -9, all is there; and what the config looks like."""

import collections

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from support import wire

NAME = "ottla.flush.before.ack"
TOPICS = ["one", "two", "three"]


def value_of(admin, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (answer,) = admin.describe_configs([resource]).values()
    return answer.result(30)[NAME].value


def produce(broker, rounds):
    """What was acknowledged, by topic and partition, in the order of the acknowledgements."""
    acknowledged = collections.defaultdict(list)
    errors = []

    def delivered(error, message):
        if error:
            errors.append(str(error))
        else:
            acknowledged[message.topic(), message.partition()].append((message.offset(), message.value()))

    producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 1})
    for number in range(rounds):
        for topic in TOPICS:
            producer.produce(topic, b"%d" % number, partition=number % 4, on_delivery=delivered)
        producer.poll(0)
    producer.flush(60)
    assert not errors
    return acknowledged


def read_all(broker, counts):
    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": "g", "auto.offset.reset": "earliest", "check.crcs": True}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in counts])
    found = collections.defaultdict(list)
    while sum(map(len, found.values())) < sum(counts.values()):
        messages = consumer.consume(1000, 10)
        assert messages, "records are missing"
        for message in messages:
            assert not message.error()
            found[message.topic(), message.partition()].append((message.offset(), message.value()))
    consumer.close()
    return found


def test_what_was_acknowledged_is_there_after_a_kill(broker):
    with wire.Connection(broker.port, timeout=30) as connection:
        for topic in TOPICS:
            assert connection.create_topic(topic, 4, {NAME: "true"} if topic != "three" else {}) == 0
    admin = AdminClient({"bootstrap.servers": broker.address})
    assert [value_of(admin, topic) for topic in TOPICS] == ["true", "true", "false"]
    acknowledged = produce(broker, 2000)
    assert sum(map(len, acknowledged.values())) == 6000
    broker.kill()
    broker.start()
    found = read_all(broker, {key: len(records) for key, records in acknowledged.items()})
    assert found == acknowledged
    # And it goes on.
    more = produce(broker, 100)
    assert all(records[0][0] == len(acknowledged[key]) for key, records in more.items())
