"""DeleteRecords with real clients, and what is left after a kill."""

import pytest

from support import wire
from support.clients import CLIENTS, LIBRARIES, ClientError, Record

BROKER_OVERRIDES = {"log.retention.check.interval.ms": 500, "log.segment.delete.delay.ms": 500}


@pytest.mark.parametrize("client", LIBRARIES)
def test_delete_records(clients, client, topic):
    one = clients(client)
    one.create_topic(topic)
    one.produce(topic, [Record(value=b"%d" % i) for i in range(100)])
    assert one.delete_records(topic, 40) == 40
    assert one.offsets(topic) == (40, 100)
    assert [r.value for r in one.consume(topic, 60)] == [b"%d" % i for i in range(40, 100)]
    # It never goes back.
    assert one.delete_records(topic, 10) == 40
    with pytest.raises(ClientError, match="(?i)out.?of.?range"):
        one.delete_records(topic, 101)
    assert one.delete_records(topic, -1) == 100
    assert one.offsets(topic) == (100, 100)
    assert one.produce(topic, [Record(value=b"next")]) == [100]


@pytest.mark.parametrize("client", LIBRARIES)
def test_a_compacted_topic_refuses(clients, client, topic):
    one = clients(client)
    one.create_topic(topic, configs={"cleanup.policy": "compact"})
    one.produce(topic, [Record(key=b"key", value=b"value")])
    with pytest.raises(ClientError, match="(?i)policy"):
        one.delete_records(topic, 1)
    one.set_topic_configs(topic, {"cleanup.policy": "compact,delete"})
    assert one.delete_records(topic, 1) == 1


def test_what_was_deleted_does_not_come_back(make_broker, topic):
    broker = make_broker()
    broker.start()
    for round in range(1, 6):
        # A client of its own each time: one that saw the broker die takes a while to find it again.
        one = CLIENTS["confluent-kafka"](broker.address)
        if round == 1:
            one.create_topic(topic, 3)
        for partition in range(3):
            one.produce(topic, [Record(value=b"x" * 1000, partition=partition) for _ in range(20)])
            assert one.delete_records(topic, round * 10 + partition, partition) == round * 10 + partition
        one.close()
        broker.kill()
        broker.start()
        with wire.Connection(broker.port) as connection:
            for partition in range(3):
                assert connection.end_offset(topic, partition, timestamp=-2) == round * 10 + partition
                assert connection.end_offset(topic, partition) == round * 20
