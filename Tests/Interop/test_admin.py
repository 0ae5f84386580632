"""Topics and settings through each admin client."""

import time

import pytest

from support import wire
from support.clients import LIBRARIES, ClientError, Record


@pytest.mark.parametrize("client", LIBRARIES)
def test_topic_life(broker, clients, topic, client):
    one = clients(client)
    one.create_topic(topic, 3, {"retention.ms": "1234567", "cleanup.policy": "compact,delete"})
    assert topic in one.topics()
    assert one.partitions(topic) == 3
    configs = one.topic_configs(topic)
    assert configs["retention.ms"] == "1234567"
    assert sorted(configs["cleanup.policy"].split(",")) == ["compact", "delete"]
    assert configs["segment.bytes"] == "1073741824", "what was not set has Kafka's default"
    with pytest.raises(ClientError, match="(?i)exists"):
        one.create_topic(topic)

    one.add_partitions(topic, 5)
    assert one.partitions(topic) == 5
    with pytest.raises(ClientError, match="(?i)partitions"):
        one.add_partitions(topic, 2)
    one.produce(topic, [Record(key=b"k", value=b"on a new partition", partition=4)])
    assert one.consume(topic, 1, partition=4)[0].value == b"on a new partition"

    one.set_topic_configs(topic, {"retention.ms": "7654321", "max.message.bytes": "2000000"})
    configs = one.topic_configs(topic)
    assert configs["retention.ms"] == "7654321"
    assert configs["max.message.bytes"] == "2000000"
    if client != "aiokafka":  # which speaks the older API: what it does not name is unset
        assert sorted(configs["cleanup.policy"].split(",")) == ["compact", "delete"]

    one.delete_topic(topic)
    assert topic not in one.topics()
    with pytest.raises(ClientError, match="(?i)unknown"):
        one.delete_topic(topic)
    end = time.monotonic() + 10
    while (broker.data / f"{topic}-0").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not (broker.data / f"{topic}-0").exists()

    # The same name again is another topic.
    one.create_topic(topic, 1)
    assert one.partitions(topic) == 1
    assert one.offsets(topic) == (0, 0)
    assert one.topic_configs(topic)["retention.ms"] == "604800000"


@pytest.mark.parametrize("client", LIBRARIES)
@pytest.mark.parametrize("name", ["bad/name", "x" * 250, ".."])
def test_bad_topic_names(clients, client, name):
    with pytest.raises(ClientError, match="(?i)invalid"):
        clients(client).create_topic(name)


def test_a_producer_outlives_the_deletion_of_its_topic(clients, topic):
    """Produce 13 and Fetch 13 name topics by id; the new topic of the same name has another."""
    one = clients("java")
    for round in range(3):
        one.create_topic(topic)
        assert one.produce(topic, [Record(value=b"%d" % round)]) == [0]
        assert one.consume(topic, 1)[0].value == b"%d" % round
        one.delete_topic(topic)


def test_java_unsets_configs(clients, topic):
    java = clients("java")
    java.create_topic(topic, configs={"retention.ms": "1000", "flush.ms": "9"})
    java.unset_topic_config(topic, "retention.ms")
    configs = java.topic_configs(topic)
    assert configs["retention.ms"] == "604800000"
    assert configs["flush.ms"] == "9"


def test_java_lists_config_resources_and_cluster(clients, topic):
    java = clients("java")
    java.create_topic(topic, configs={"retention.ms": "1000"})
    assert topic in java.config_resources()
    cluster, nodes, _ = java.cluster()
    assert len(cluster) == 22
    assert nodes == 1


def test_the_versions_that_are_announced(broker):
    with wire.Connection(broker.port) as connection:
        versions = connection.api_versions()
    assert versions[wire.PRODUCE][0] == 0, "librdkafka reads the floor of Produce from here"
    assert versions[wire.PRODUCE][1] == 13
    assert versions[wire.FETCH] == (4, 18)
    assert versions[wire.LIST_OFFSETS] == (1, 11)
    assert versions[wire.METADATA] == (0, 13)
    assert versions[wire.API_VERSIONS] == (0, 4)
    assert versions[wire.INIT_PRODUCER_ID] == (0, 5)
    assert [versions[key] for key in (24, 25, 26, 28)] == [(0, 5), (0, 4), (0, 5), (0, 5)], "transactions"
    for key, (low, high) in versions.items():
        assert 0 <= low <= high, f"API {key}"


def test_the_advertised_address_is_how_one_came(make_broker):
    """Without advertised.listeners, each client is told the address at which it reached the broker."""
    from support.clients.kcat import Kcat

    broker = make_broker()
    broker.overrides["listeners"] = f"PLAINTEXT://0.0.0.0:{broker.port}"
    broker.start()
    for host in ("127.0.0.1", "127.0.0.2"):
        found = Kcat(f"{host}:{broker.port}").metadata()["brokers"]
        assert [one["name"] for one in found] == [f"{host}:{broker.port}"]


def test_an_advertised_address_that_was_set(make_broker):
    from support.clients.kcat import Kcat

    broker = make_broker()
    broker.overrides["advertised.listeners"] = f"PLAINTEXT://localhost:{broker.port}"
    broker.start()
    assert [one["name"] for one in Kcat(broker.address).metadata()["brokers"]] == [f"localhost:{broker.port}"]
