"""Bad input to the coordinators: Kafka's code, and groups and transactions of others notice nothing."""

import contextlib
import struct
import time

import pytest

from support import groupwire, honest, wire

BROKER_OVERRIDES = {
    "offsets.topic.num.partitions": 1,  # everybody at one shard
    "transaction.state.log.num.partitions": 1,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 2000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 500,
}
# UNKNOWN_TOPIC_OR_PARTITION and so on, by their numbers.
UNKNOWN_TOPIC, INVALID_GROUP_ID, UNKNOWN_MEMBER = 3, 24, 25
INVALID_REQUEST, OUT_OF_ORDER, INVALID_EPOCH, INVALID_TXN_STATE, INVALID_MAPPING = 42, 45, 47, 48, 49
COORDINATOR_FENCED, FENCED_MEMBER, UNSUPPORTED_ASSIGNOR, STALE_MEMBER, INVALID_REGEX = 52, 110, 112, 113, 128


@pytest.fixture
def connection(broker):
    with wire.Connection(broker.port, timeout=30) as one:
        for kind in (0, 1):
            groupwire.find_coordinator(one, "any", kind)
        groupwire.wait_until_loaded(one)
        yield one


def honest_group(broker, topic, worst=2.0):
    """A member that commits and reads back all the time, in a group of its own at the same shard."""

    def turns(connection):
        connection.create_topic(topic)
        error, epoch, assigned = groupwire.heartbeat(
            connection, f"{topic}-honest", "honest", 0, topics=[topic], owned={}
        )
        assert (error, epoch > 0) == (0, True), error
        owned, beat = assigned or {}, time.monotonic()
        offset = 0
        while True:
            yield
            began = time.monotonic()
            if began - beat > 0.3:
                error, epoch, assigned = groupwire.heartbeat(
                    connection, f"{topic}-honest", "honest", epoch, owned=owned
                )
                assert error == 0
                owned, beat = owned if assigned is None else assigned, began
            error = groupwire.commit(
                connection, f"{topic}-honest", topic, 0, offset, generation=epoch, member="honest"
            )
            assert error == 0
            assert groupwire.committed(connection, f"{topic}-honest", topic, 0) == offset
            offset += 1

    return honest.at_work(broker, turns, worst)


# ------------------------------------------------------------------------------------ groups


def test_a_thousand_members_that_flap(broker, connection, topic):
    """They join one group by KIP-848, leave or fall silent, and join again under other names."""
    connection.create_topic(topic, 16)
    before = broker.resident_mb()
    with honest_group(broker, f"{topic}-busy"):
        for round in range(5):
            for number in range(1000):
                member = f"m{round}-{number}"
                error, epoch, _ = groupwire.heartbeat(connection, topic, member, 0, topics=[topic], owned={})
                assert error == 0 and epoch > 0
                if number % 2:
                    assert groupwire.heartbeat(connection, topic, member, -1)[0] == 0
        # The others' sessions end; one that stays gets everything.
        owned, epoch, deadline = {}, 0, time.monotonic() + 30
        while sum(len(indexes) for indexes in owned.values()) < 16:
            assert time.monotonic() < deadline, owned
            error, epoch, assigned = groupwire.heartbeat(
                connection, topic, "stays", epoch, topics=[topic] if epoch == 0 else None, owned=owned
            )
            assert error == 0
            owned = owned if assigned is None else assigned
            time.sleep(0.1)
    assert groupwire.heartbeat(connection, topic, "stays", -1)[0] == 0
    assert broker.resident_mb() < before + 60


def test_a_thousand_classic_members_that_flap(broker, connection, topic):
    before = broker.resident_mb()
    with honest_group(broker, f"{topic}-busy"):
        for _ in range(3):
            members = [wire.Connection(broker.port) for _ in range(400)]
            for member in members:
                groupwire.join(member, topic, session=1000)
            for member in members:
                member.reset()
        deadline = time.monotonic() + 30
        with wire.Connection(broker.port, timeout=60) as last:
            groupwire.join(last, topic)
            error, generation, member = groupwire.join_answer(last)
            assert error == 0 and generation > 0 and member.startswith("wire-")
        assert time.monotonic() < deadline
    assert broker.resident_mb() < before + 60


def test_names_of_32_kb(broker, connection, topic):
    connection.create_topic(topic)
    with honest_group(broker, f"{topic}-busy"):
        for number in range(20):
            name = f"{number:03}" + "n" * 32_764
            assert groupwire.commit(connection, name, topic, 0, number) == 0
            error, epoch, _ = groupwire.heartbeat(connection, f"c{name}"[:32_767], "m", 0, topics=[topic], owned={})
            assert error == 0 and epoch > 0
        for number in range(20):
            assert groupwire.committed(connection, f"{number:03}" + "n" * 32_764, topic, 0) == number
        # The member id is made of the client's, and would not fit.
        with wire.Connection(broker.port) as other:
            groupwire.join(other, f"{topic}-group", client="c" * 32_767)
            with contextlib.suppress(OSError):
                groupwire.join_answer(other)
        # Metadata over offset.metadata.max.bytes: OFFSET_METADATA_TOO_LARGE.
        assert groupwire.commit(connection, topic, topic, 0, 1, metadata="m" * 32_767) == 12
    broker.restart("kill")
    with wire.Connection(broker.port, timeout=30) as other:
        groupwire.wait_until_loaded(other)
        for number in range(20):
            assert groupwire.committed(other, f"{number:03}" + "n" * 32_764, topic, 0) == number


def test_strangers_and_epochs(connection, topic):
    connection.create_topic(topic)
    beat = groupwire.heartbeat
    assert beat(connection, topic, "m", 1, owned={})[0] in (UNKNOWN_MEMBER, 69)
    error, epoch, _ = beat(connection, topic, "m", 0, topics=[topic], owned={})
    assert error == 0
    assert beat(connection, topic, "stranger", epoch)[0] == UNKNOWN_MEMBER
    for wrong in (epoch + 1, epoch + 100, 2**31 - 1):
        assert beat(connection, topic, "m", wrong)[0] == FENCED_MEMBER
    assert beat(connection, topic, "m", -7)[0] == INVALID_REQUEST
    assert beat(connection, topic, "", 5)[0] == INVALID_REQUEST
    assert beat(connection, "", "m", 0, topics=[topic], owned={})[0] in (INVALID_REQUEST, INVALID_GROUP_ID)
    assert beat(connection, topic, "x", 0, topics=[topic], owned={}, assignor="nobody's")[0] == UNSUPPORTED_ASSIGNOR
    assert groupwire.commit(connection, topic, topic, 0, 1, generation=epoch + 5, member="m") == STALE_MEMBER
    assert groupwire.commit(connection, topic, topic, 0, 1, generation=epoch, member="stranger") == UNKNOWN_MEMBER
    assert groupwire.commit(connection, topic, "missing", 0, 1, generation=epoch, member="m") == UNKNOWN_TOPIC
    assert groupwire.commit(connection, topic, topic, 7, 1, generation=epoch, member="m") == UNKNOWN_TOPIC
    assert groupwire.commit(connection, topic, topic, -1, 1, generation=epoch, member="m") == UNKNOWN_TOPIC
    assert groupwire.committed(connection, topic, topic, 0) == -1
    # The member is what it was.
    assert beat(connection, topic, "m", epoch)[:2] == (0, epoch)


def test_missing_topics_and_explosive_patterns(broker, connection, topic):
    connection.create_topic("a" * 200)
    with honest_group(broker, f"{topic}-busy"):
        error, epoch, assigned = groupwire.heartbeat(
            connection, f"{topic}-1", "m", 0, topics=[f"missing-{n}" for n in range(5000)], owned={}
        )
        assert error == 0 and not assigned
        for number, pattern in enumerate(["(a*)*b", "(a|aa)+$", "(.*)" * 100 + "b", "((a{1,100}){1,100}){1,100}"]):
            name = f"{topic}-p{number}"
            error = groupwire.heartbeat(connection, name, "m", 0, pattern=pattern, owned={})[0]
            assert error in (0, INVALID_REGEX)
        for pattern in ("(a", "a{2,1}", "[z-a]", r"\1", "(?=a)"):
            assert groupwire.heartbeat(connection, f"{topic}-x", "m", 0, pattern=pattern, owned={})[0] == INVALID_REGEX


# ------------------------------------------------------------------------------------ transactions


def test_another_producers_id(connection, topic):
    connection.create_topic(topic)
    error, producer, epoch = connection.init_producer_id(topic)
    assert error == 0
    other = connection.init_producer_id(f"{topic}-other")[1]
    assert groupwire.add_partition(connection, topic, other, epoch, topic, 0) == INVALID_MAPPING
    assert groupwire.add_partition(connection, f"{topic}-nobody", producer, epoch, topic, 0) == INVALID_MAPPING
    assert groupwire.add_partition(connection, topic, producer, epoch + 1, topic, 0) in (INVALID_EPOCH, 90)
    assert groupwire.add_partition(connection, topic, producer, epoch, "missing", 0) == UNKNOWN_TOPIC
    assert groupwire.end(connection, topic, other, epoch, True) == INVALID_MAPPING
    assert groupwire.end(connection, topic, producer, epoch, True) == INVALID_TXN_STATE
    # And its own still work. Records of a transaction come with its id: TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
    assert groupwire.add_partition(connection, topic, producer, epoch, topic, 0) == 0
    records = wire.batch([b"x"], producer=producer, epoch=epoch, sequence=0, attributes=16)
    assert connection.produce(topic, 0, records) == (53, -1)
    assert groupwire.end(connection, topic, producer, epoch, True) == 0


def test_sequences_that_wrap(connection, topic):
    """The number after 2,147,483,647 is 0; anything else is out of order, and nothing is stored."""
    connection.create_topic(topic)
    last = 2**31 - 1

    def send(sequence, values, producer):
        return connection.produce(topic, 0, wire.batch(values, producer=producer, epoch=0, sequence=sequence))

    producer = connection.init_producer_id()[1]
    # One that the partition does not know may begin anywhere.
    assert send(last - 1, [b"a"], producer) == (0, 0)
    assert send(last, [b"b", b"c"], producer) == (0, 1)  # the batch wraps inside
    assert send(last, [b"b", b"c"], producer) == (0, 1)  # a duplicate
    assert send(2, [b"d"], producer)[0] == OUT_OF_ORDER
    assert send(last, [b"d"], producer)[0] == OUT_OF_ORDER
    assert send(1, [b"d"], producer) == (0, 3)
    assert connection.end_offset(topic, 0) == 4


def test_markers_without_a_transaction(broker, connection, topic):
    connection.create_topic(topic)
    producer = connection.init_producer_id()[1]
    assert groupwire.marker(connection, producer, 0, "missing", 0) == UNKNOWN_TOPIC
    assert groupwire.marker(connection, producer, 0, topic, 9) == UNKNOWN_TOPIC
    assert groupwire.marker(connection, producer, 0, topic, -1) == UNKNOWN_TOPIC
    with honest_group(broker, f"{topic}-busy"):
        # Of transactions of version 1 there may be markers where nothing was written: they are stored, as in Kafka.
        assert groupwire.marker(connection, producer, 5, topic, 0, coordinator=3, version=1) == 0
        assert groupwire.marker(connection, producer, 4, topic, 0, coordinator=3, version=1) == INVALID_EPOCH
        assert groupwire.marker(connection, producer, 5, topic, 0, coordinator=2, version=1) == COORDINATOR_FENCED
        end = connection.end_offset(topic, 0)
        assert end == 1
        # Records of the epoch before are refused, those of this one go on.
        assert connection.produce(topic, 0, wire.batch([b"z"], producer=producer, epoch=4, sequence=0))[0] in (
            INVALID_EPOCH,
            90,
        )
        assert connection.produce(topic, 0, wire.batch([b"x"], producer=producer, epoch=5, sequence=0)) == (0, end)


def test_epochs_run_out(connection, topic):
    """The last epoch of a producer is 32,767, which is used for fencing only."""
    connection.create_topic(topic)
    producer = connection.init_producer_id()[1]

    def send(epoch, sequence=0):
        return connection.produce(topic, 0, wire.batch([b"x"], producer=producer, epoch=epoch, sequence=sequence))

    assert send(32_766) == (0, 0)
    assert send(32_767) == (0, 1)
    assert send(32_766, 1)[0] in (INVALID_EPOCH, 90)
    assert send(-2)[0] != 0
    assert struct.pack(">h", -32_768) and send(-32_768)[0] != 0
    assert connection.end_offset(topic, 0) == 2
