"""A member that stops for longer than its session lasts: the others take over, and it joins again when it goes on."""

import signal
import time

import pytest

from support.groups import Group, Source

COOPERATIVE = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
CASES = {
    "confluent-kafka": ("confluent-kafka", {"partition.assignment.strategy": "range"}),
    "confluent-kafka cooperative": ("confluent-kafka", {"partition.assignment.strategy": "cooperative-sticky"}),
    "kafka-python": ("kafka-python", {}),
    "aiokafka": ("aiokafka", {}),
    "java cooperative": ("java", {"partition.assignment.strategy": COOPERATIVE}),
}
DOTTED = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 300}
UNDERLINED = {"session_timeout_ms": 3000, "heartbeat_interval_ms": 300}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES)
def test_one_is_paused(clients, topic, case):
    name, config = CASES[case]
    clients("confluent-kafka").create_topic(topic, 6)
    config = {**(DOTTED if name in ("confluent-kafka", "java") else UNDERLINED), **config}
    with Group(clients(name), f"{topic}-group", topic, 6, config) as group:
        source = Source(clients("confluent-kafka"), topic, 6)
        first, second = group.join(), group.join()
        group.settle([3, 3], 40)
        time.sleep(0.5)

        first.process.send_signal(signal.SIGSTOP)
        group.running = [second]
        group.settle([6], 30)

        first.process.send_signal(signal.SIGCONT)
        group.running = [first, second]
        group.settle([3, 3], 40)
        time.sleep(0.5)

        produced = source.stop()
        group.catch_up(produced, 30)
        seen = group.seen()
        for partition, count in produced.items():
            assert seen[partition] == set(range(count)), f"partition {partition}: {count - len(seen[partition])} missed"
        for one in list(group.running):
            group.leave(one)
