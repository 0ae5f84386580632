"""The consumer protocol (KIP-848) with librdkafka and the Java client, and groups that change the protocol in use."""

import signal
import time

import pytest

from support.clients import Record
from support.groups import Group, Member, Source

BROKER_OVERRIDES = {
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 5000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 300,
    "group.consumer.assignment.interval.ms": 200,
}
CONSUMER = {"group.protocol": "consumer"}
CLASSIC = {
    "confluent-kafka": {
        "group.protocol": "classic",
        "partition.assignment.strategy": "range",
        "session.timeout.ms": 3000,
        "heartbeat.interval.ms": 300,
    },
    "java": {
        "group.protocol": "classic",
        "partition.assignment.strategy": "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        "session.timeout.ms": 3000,
        "heartbeat.interval.ms": 300,
    },
}
CLIENTS = ["confluent-kafka", "java"]


def caught_up(group: Group, produced: dict[int, int]) -> None:
    group.catch_up(produced, 20)
    time.sleep(0.5)  # for the last commits


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", CLIENTS)
def test_join_leave_and_die(clients, topic, name):
    one = clients(name)
    clients("confluent-kafka").create_topic(topic, 6)
    with Group(one, f"{topic}-group", topic, 6, CONSUMER) as group:
        source = Source(clients("confluent-kafka"), topic, 6)
        first, second, third = group.join(), group.join(), group.join()
        group.settle([2, 2, 2], 30)
        group.leave(first)
        group.settle([3, 3], 20)
        group.die(second)  # found out by its silence
        group.settle([6], 20)
        group.join()
        group.settle([3, 3], 20)
        produced = source.stop()
        caught_up(group, produced)
        for member in list(group.running):
            group.leave(member)
        group.check(produced)
        assert third.process.returncode is not None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CLIENTS)
def test_one_that_is_stopped_for_too_long(clients, topic, name):
    """It loses its partitions, is refused when it goes on, and joins again."""
    one = clients(name)
    clients("confluent-kafka").create_topic(topic, 4)
    with Group(one, f"{topic}-group", topic, 4, CONSUMER) as group:
        group.join()
        paused = group.join()
        group.settle([2, 2], 30)
        paused.process.send_signal(signal.SIGSTOP)
        group.running.remove(paused)
        group.settle([4], 20)
        paused.process.send_signal(signal.SIGCONT)
        group.running.append(paused)
        group.settle([2, 2], 20)
        source = Source(clients("confluent-kafka"), topic, 4)
        time.sleep(1)
        produced = source.stop()
        caught_up(group, produced)
        for member in list(group.running):
            group.leave(member)
        group.check(produced)


@pytest.mark.timeout(60)
def test_a_static_member_comes_back(clients, topic):
    # A Java client may take longer to start than a session lasts here.
    one = clients("confluent-kafka")
    one.create_topic(topic, 4)
    group = f"{topic}-group"

    def join(instance):
        return Member(instance, one.member_command(group, topic, **CONSUMER, **{"group.instance.id": instance}))

    def held(member, count, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(member.assignment()) != count:
            assert member.process.poll() is None, member.trouble()
            time.sleep(0.05)
        assert len(member.assignment()) == count, member.trouble()
        return member.assignment()

    first, second = join("one"), join("two")
    try:
        held(first, 2)
        before = held(second, 2)
        told = len([words for words in first.lines() if words[0] == "assigned"])
        second.leave()
        second = join("two")
        assert held(second, 2) == before
        # The other has not noticed.
        assert len([words for words in first.lines() if words[0] == "assigned"]) == told
    finally:
        first.die()
        second.die()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_administrator_removes_a_static_member(clients, topic, protocol):
    """Whatever it speaks; the Java client looks for the member in the answer as it named it."""
    clients("confluent-kafka").create_topic(topic)
    group = f"{topic}-group"
    config = {"group.protocol": protocol, "group.instance.id": "one"}
    if protocol == "classic":
        config["session.timeout.ms"] = 30000
    member = Member("one", clients("confluent-kafka").member_command(group, topic, **config))
    try:
        end = time.monotonic() + 20
        while not member.assignment():
            assert time.monotonic() < end, member.trouble()
            time.sleep(0.05)
        member.die()
        assert members(clients, group) == ["one"]
        clients("java").remove_member(group, "one")
        assert members(clients, group) == []
    finally:
        member.die()


@pytest.mark.timeout(60)
def test_a_regular_expression(clients, topic):
    """librdkafka leaves it to the broker to find the topics."""
    one = clients("confluent-kafka")
    one.create_topic(f"{topic}-a", 2)
    one.produce(f"{topic}-a", [Record(value=b"0")])
    with Group(one, f"{topic}-group", f"^{topic}-.*", 2, CONSUMER) as group:
        group.join()
        group.settle([2], 30)
        end = time.monotonic() + 20
        while time.monotonic() < end and not group.seen()[0]:
            time.sleep(0.05)
        assert group.seen()[0] == {0}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_group_changes_its_protocol_in_use(clients, topic, name):
    one = clients(name)
    clients("confluent-kafka").create_topic(topic, 4)
    with Group(one, f"{topic}-group", topic, 4, CLASSIC[name]) as group:
        source = Source(clients("confluent-kafka"), topic, 4)
        old = [group.join(), group.join()]
        group.settle([2, 2], 30)
        # Each is replaced by one of the new protocol, which makes the group a consumer group.
        group.config = CONSUMER
        for member in old:
            group.join()
            time.sleep(1)
            group.leave(member)
        group.settle([2, 2], 30)
        assert kinds(clients, f"{topic}-group") == "consumer"
        # And back: with the last of them the group is a classic one.
        new = list(group.running)
        group.config = CLASSIC[name]
        for member in new:
            group.join()
            time.sleep(1)
            group.leave(member)
        group.settle([2, 2], 30)
        assert kinds(clients, f"{topic}-group") == "classic"
        produced = source.stop()
        caught_up(group, produced)
        for member in list(group.running):
            group.leave(member)
        group.check(produced)


def members(clients, group: str) -> list[str]:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": clients("confluent-kafka").address})
    described = admin.describe_consumer_groups([group])[group].result(10)
    return [one.group_instance_id for one in described.members]


def kinds(clients, name: str) -> str:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": clients("confluent-kafka").address})
    listed = {one.group_id: one.type.name.lower() for one in admin.list_consumer_groups().result(10).valid}
    return listed[name]
