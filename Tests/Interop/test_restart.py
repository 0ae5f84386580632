"""Data, topics, settings and committed offsets survive the broker's end, however it ends."""

import pytest

from support import logfile
from support.clients import CLIENTS, LIBRARIES, Record

WAYS = ["stop", "kill"]


@pytest.mark.parametrize("how", WAYS)
def test_everything_is_there_afterwards(make_broker, how):
    broker = make_broker()
    broker.start()
    made = {name: CLIENTS[name](broker.address) for name in LIBRARIES}
    one = made["confluent-kafka"]
    one.create_topic("kept", 3, {"retention.ms": "7777777"})
    one.create_topic("dropped", 3)
    for partition in range(3):
        sent = [Record(value=b"%d" % i, key=b"k", partition=partition) for i in range(300)]
        one.produce("kept", sent, codec="lz4", idempotent=True)
    one.delete_topic("dropped")
    for name, client in made.items():
        client.commit(f"group-{name}", "kept", 100 + len(name))
    assert len(made["java"].subscribe("kept", "reader", 900)) == 900

    for round in range(2):
        broker.restart(how)
        # New ones, but for Java's: librdkafka 2.16 keeps, over its re-bootstrap, a coordinator that it has given up,
        # and kafka-python's admin does not wait until it is connected again.
        for name in ("confluent-kafka", "kafka-python", "aiokafka"):
            made[name].close()
            made[name] = CLIENTS[name](broker.address)
        one = made["confluent-kafka"]
        for name, client in made.items():
            assert client.committed(f"group-{name}", "kept") == 100 + len(name), name
            assert {"kept"} <= client.topics()
            assert "dropped" not in client.topics()
        assert one.partitions("kept") == 3
        assert one.topic_configs("kept")["retention.ms"] == "7777777"
        for partition in range(3):
            assert one.offsets("kept", partition) == (0, 300 + round)
            got = made["aiokafka"].consume("kept", 300, partition=partition)
            assert [r.value for r in got] == [b"%d" % i for i in range(300)]
            assert one.produce("kept", [Record(value=b"more", partition=partition)]) == [300 + round]
            assert set(logfile.codecs(broker.data, "kept", partition)) <= {"lz4", "none"}
        # The group stands where it stood: only what is new comes.
        got = made["java"].subscribe("kept", "reader", 3)
        assert [(r.offset, r.value) for r in got] == [(300 + round, b"more")] * 3
        assert one.group("reader")[0] == "empty"
    for client in made.values():
        client.close()
    broker.stop()


@pytest.mark.parametrize("how", WAYS)
def test_clients_that_stay_go_on(make_broker, how):
    """Producer and consumer outlive a restart of their broker."""
    from confluent_kafka import Consumer, Producer

    broker = make_broker()
    broker.start()
    CLIENTS["confluent-kafka"](broker.address).create_topic("stays", 2)
    settings = {"bootstrap.servers": broker.address, "log_level": 0, "reconnect.backoff.max.ms": 200}
    producer = Producer({**settings, "enable.idempotence": True})
    consumer = Consumer(
        {**settings, "group.id": "g", "auto.offset.reset": "earliest", "session.timeout.ms": 6000}
    )
    consumer.subscribe(["stays"])
    failures, got = [], []

    def delivered(error, message):
        if error:
            failures.append(str(error))

    def collect(total):
        for _ in range(300):
            got.extend(m.value() for m in consumer.consume(100, 0.1) if not m.error())
            if len(got) >= total:
                break

    for round in range(3):
        for i in range(100):
            producer.produce("stays", b"%d" % (round * 100 + i), partition=i % 2, on_delivery=delivered)
        producer.flush(30)
        collect((round + 1) * 100)
        broker.restart(how)
    consumer.close()
    assert failures == []
    assert sorted(map(int, got)) == list(range(300))
    broker.stop()


def test_a_clean_end_is_noted(make_broker):
    """Kafka's mark of a clean shutdown, and its checkpoints, are in the folder."""
    broker = make_broker()
    broker.start()
    CLIENTS["confluent-kafka"](broker.address).produce("t", [Record(value=b"x")])
    assert not (broker.data / ".kafka_cleanshutdown").exists()
    broker.stop()
    assert (broker.data / ".kafka_cleanshutdown").exists()
    checkpoint = (broker.data / "recovery-point-offset-checkpoint").read_text().split("\n")
    assert "t 0 1" in checkpoint
    assert (broker.data / "t-0" / "partition.metadata").read_text().startswith("version: 0\ntopic_id: ")
    meta = (broker.data / "meta.properties").read_text()
    assert "version=1" in meta and "cluster.id=" in meta and "node.id=" in meta
