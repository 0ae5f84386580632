"""Long polls, byte limits, and the offsets that a fetch may ask for."""

import threading
import time

from support import wire


def test_a_fetch_waits_as_long_as_it_says(broker, topic):
    with wire.Connection(broker.port) as connection:
        assert connection.create_topic(topic) == 0
        began = time.monotonic()
        error, high, records = connection.fetch(topic, 0, 0, min_bytes=1, max_wait=700)
        took = time.monotonic() - began
        assert (error, high, records) == (0, 0, b"")
        assert 0.65 < took < 1.5


def test_a_fetch_without_min_bytes_does_not_wait(broker, topic):
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        began = time.monotonic()
        assert connection.fetch(topic, 0, 0, min_bytes=0, max_wait=5000) == (0, 0, b"")
        assert time.monotonic() - began < 0.5


def test_an_append_wakes_a_waiting_fetch(broker, topic):
    with wire.Connection(broker.port) as reader, wire.Connection(broker.port) as writer:
        reader.create_topic(topic)
        result = {}

        def wait():
            began = time.monotonic()
            result["answer"] = reader.fetch(topic, 0, 0, min_bytes=1, max_wait=8000)
            result["took"] = time.monotonic() - began

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        batch = wire.batch([b"wake up"])
        assert writer.produce(topic, 0, batch) == (0, 0)
        thread.join(10)
        error, high, records = result["answer"]
        assert (error, high, len(records)) == (0, 1, len(batch))
        assert 0.25 < result["took"] < 1.0


def test_min_bytes_waits_for_enough(broker, topic):
    with wire.Connection(broker.port) as reader, wire.Connection(broker.port) as writer:
        reader.create_topic(topic)
        result = {}

        def wait():
            began = time.monotonic()
            result["answer"] = reader.fetch(topic, 0, 0, min_bytes=2500, max_wait=8000)
            result["took"] = time.monotonic() - began

        thread = threading.Thread(target=wait)
        thread.start()
        for i in range(3):
            time.sleep(0.3)
            assert writer.produce(topic, 0, wire.batch([b"x" * 1000])) == (0, i)
        thread.join(10)
        assert len(result["answer"][2]) >= 2500
        assert 0.8 < result["took"] < 2.0


def test_byte_limits(broker, topic):
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        batch = wire.batch([b"x" * 10_000])
        for _ in range(10):
            connection.produce(topic, 0, batch)
        # The first batch comes whole even where the limit is below its size: otherwise nobody gets past it.
        error, high, records = connection.fetch(topic, 0, 0, max_bytes=100)
        assert (error, high) == (0, 10)
        assert len(records) == len(batch)
        # Beyond it the limit counts. The end may be torn, as Kafka's is; no client minds.
        _, _, records = connection.fetch(topic, 0, 0, max_bytes=35_000)
        assert 3 * len(batch) <= len(records) <= 35_000


def test_offsets_that_are_not_there(broker, topic):
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        connection.produce(topic, 0, wire.batch([b"a", b"b"]))
        assert connection.fetch(topic, 0, 3, max_wait=0)[0] == 1, "OFFSET_OUT_OF_RANGE above the end"
        assert connection.fetch(topic, 0, -1, max_wait=0)[0] == 1, "and below the start"
        assert connection.fetch(topic, 0, 2, max_wait=0)[0] == 0, "the end itself is where one waits"
        assert connection.fetch(topic, 7, 0, max_wait=0)[0] == 3, "UNKNOWN_TOPIC_OR_PARTITION"
        assert connection.fetch("not-there", 0, 0, max_wait=0)[0] == 3
        # From inside a batch: the whole batch comes, the client skips.
        assert len(connection.fetch(topic, 0, 1)[2]) == len(wire.batch([b"a", b"b"]))


def test_special_timestamps(broker, topic):
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        now = int(time.time() * 1000)
        for i, offset in enumerate((0, 30, 10)):
            assert connection.produce(topic, 0, wire.batch([b"x"], timestamp=now + offset)) == (0, i)
        assert connection.end_offset(topic, 0, -1) == 3
        assert connection.end_offset(topic, 0, -2) == 0
        assert connection.end_offset(topic, 0, now + 1) == 1
        assert connection.end_offset(topic, 0, now + 31) == -1


def test_answers_come_in_order(broker, topic):
    """Many requests written at once, a waiting fetch among them, are answered one after the other."""
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        requests = []
        for i in range(200):
            if i % 3:
                requests.append(wire.produce_request(topic, 0, wire.batch([b"%d" % i]), correlation=i))
            else:
                requests.append(wire.header(wire.API_VERSIONS, 0, correlation=i))
        connection.send(b"".join(wire.framed(one) for one in requests))
        offset = 0
        for i in range(200):
            answer = connection.answer()
            assert int.from_bytes(answer[:4], "big") == i
            if i % 3:
                assert wire.produce_answer(answer, topic) == (0, offset)
                offset += 1
