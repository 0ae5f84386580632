"""Groups as an administrator sees them, static members, committed offsets."""

import time

import pytest

from support.clients import LIBRARIES, ClientError, Record
from support.groups import Group

DOTTED = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}


def some(count):
    return [Record(value=b"%d" % i) for i in range(count)]


@pytest.mark.parametrize("client", LIBRARIES)
def test_a_group_goes_on_where_it_stopped(clients, topic, client):
    one, group = clients(client), f"{topic}-group"
    one.produce(topic, some(10))
    assert [r.offset for r in one.subscribe(topic, group, 10)] == list(range(10))
    one.produce(topic, some(5))
    assert one.committed(group, topic) == 10
    assert [r.offset for r in one.subscribe(topic, group, 5)] == list(range(10, 15))
    assert one.committed(group, topic) == 15
    assert group in one.groups()
    state, members = one.group(group)
    assert (state, members) == ("empty", 0)


def test_kcat_joins_a_group(clients, topic):
    clients("kcat").produce(topic, some(10))
    got = clients("kcat").subscribe(topic, f"{topic}-group", 10)
    assert [r.value for r in got] == [b"%d" % i for i in range(10)]
    assert clients("java").committed(f"{topic}-group", topic) == 10


@pytest.mark.parametrize("client", LIBRARIES)
def test_offsets_committed_by_one_library_are_read_by_the_others(clients, topic, client):
    group = f"{topic}-group"
    clients("confluent-kafka").produce(topic, some(10))
    clients(client).commit(group, topic, 7)
    for name in LIBRARIES:
        assert clients(name).committed(group, topic) == 7, name
    assert clients("kafka-python").committed(f"{group}-none", topic) is None


@pytest.mark.parametrize("client", ["confluent-kafka", "kafka-python", "java"])
def test_delete_group(clients, topic, client):
    one, group = clients(client), f"{topic}-group"
    one.produce(topic, some(3))
    one.subscribe(topic, group, 3)
    assert group in one.groups()
    one.delete_group(group)
    assert group not in one.groups()
    assert one.committed(group, topic) is None
    with pytest.raises(ClientError, match="(?i)group"):
        one.delete_group(group)


@pytest.mark.parametrize("client", ["kafka-python", "java"])
def test_delete_offsets(clients, topic, client):
    one, group = clients(client), f"{topic}-group"
    clients("confluent-kafka").create_topic(topic, 2)
    one.commit(group, topic, 5, partition=0)
    one.commit(group, topic, 6, partition=1)
    one.delete_offsets(group, topic, 0)
    assert one.committed(group, topic, 0) is None
    assert one.committed(group, topic, 1) == 6


def test_a_group_in_use_is_not_deleted(clients, topic):
    group = f"{topic}-group"
    clients("confluent-kafka").create_topic(topic, 2)
    with Group(clients("confluent-kafka"), group, topic, 2, DOTTED) as members:
        members.join()
        members.settle([2], 20)
        for name in ("confluent-kafka", "kafka-python", "java", "aiokafka"):
            assert clients(name).group(group) == ("stable", 1), name
        with pytest.raises(ClientError, match="(?i)non.?empty|not empty"):
            clients("java").delete_group(group)
        with pytest.raises(ClientError, match="(?i)subscribed"):
            clients("java").delete_offsets(group, topic)


def test_deleting_a_topic_drops_its_offsets(clients, topic):
    one, group = clients("java"), f"{topic}-group"
    one.create_topic(topic)
    one.commit(group, topic, 3)
    assert one.committed(group, topic) == 3
    one.delete_topic(topic)
    end = time.monotonic() + 10
    while one.committed(group, topic) is not None and time.monotonic() < end:
        time.sleep(0.2)
    assert one.committed(group, topic) is None


@pytest.mark.parametrize(
    ("client", "name"), [("confluent-kafka", "group.instance.id"), ("java", "group.instance.id"), ("kafka-python", "group_instance_id")]
)
def test_a_static_member_comes_back_without_a_rebalance(clients, topic, client, name):
    clients("confluent-kafka").create_topic(topic, 6)
    one = clients(client)
    session = {"session_timeout_ms": 10000} if "_" in name else {"session.timeout.ms": 10000}
    with Group(one, f"{topic}-group", topic, 6, session) as group:
        group.config = {**session, name: "first"}
        first = group.join()
        group.config = {**session, name: "second"}
        second = group.join()
        group.settle([3, 3], 30)
        held, changes = first.assignment(), len([w for w in second.lines() if w[0] == "assigned"])

        group.die(first)
        time.sleep(1)
        group.config = {**session, name: "first"}
        again = group.join()
        group.settle([3, 3], 20)
        assert again.assignment() == held
        assert len([w for w in second.lines() if w[0] == "assigned"]) == changes, "the other one was disturbed"
        assert one.group(f"{topic}-group") == ("stable", 2)


def test_two_with_the_same_instance_id(clients, topic):
    """The younger one wins; the older one is told."""
    clients("confluent-kafka").create_topic(topic, 2)
    config = {**DOTTED, "group.instance.id": "same"}
    with Group(clients("java"), f"{topic}-group", topic, 2, config) as group:
        older = group.join()
        group.settle([2], 20)
        group.join()
        end = time.monotonic() + 20
        while older.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert older.process.returncode is not None
        assert "FencedInstanceId" in older.trouble()
        group.running.remove(older)
        group.settle([2], 20)
