"""Three consumers share twelve partitions; one leaves, one dies, one joins; nothing is missed or repeated."""

import time

import pytest

from support.groups import Group, Source

# (client, its own words for how partitions are dealt out)
CASES = {
    "confluent-kafka": ("confluent-kafka", {"partition.assignment.strategy": "range"}),
    "confluent-kafka cooperative": ("confluent-kafka", {"partition.assignment.strategy": "cooperative-sticky"}),
    "kafka-python": ("kafka-python", {}),
    "aiokafka": ("aiokafka", {}),
    "java": ("java", {}),
    "java cooperative": (
        "java",
        {"partition.assignment.strategy": "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"},
    ),
}
DOTTED = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 300}
UNDERLINED = {"session_timeout_ms": 3000, "heartbeat_interval_ms": 300}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES)
def test_one_leaves_one_dies_one_joins(clients, topic, case):
    name, config = CASES[case]
    one = clients(name)
    clients("confluent-kafka").create_topic(topic, 12)
    config = {**(DOTTED if name in ("confluent-kafka", "java") else UNDERLINED), **config}
    with Group(one, f"{topic}-group", topic, 12, config) as group:
        source = Source(clients("confluent-kafka"), topic, 12)
        first, second, third = group.join(), group.join(), group.join()
        group.settle([4, 4, 4], 40)
        time.sleep(0.5)

        group.leave(first)
        group.settle([6, 6], 30)
        time.sleep(0.5)

        group.die(second)  # found out by its silence
        group.settle([12], 40)
        time.sleep(0.5)

        group.join()
        group.settle([6, 6], 40)
        time.sleep(0.5)

        produced = source.stop()
        group.catch_up(produced, 30)
        time.sleep(0.5)  # for the last commits
        for member in list(group.running):
            group.leave(member)
        group.check(produced)
        assert min(produced.values()) > 20
        assert third.process.returncode is not None
