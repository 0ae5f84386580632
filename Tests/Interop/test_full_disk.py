"""A full disk: KAFKA_STORAGE_ERROR for what would be written, reads go on, and with room again writes do too."""

import pathlib
import struct
import subprocess
import time

import pytest

from support import logfile, wire

KAFKA_STORAGE_ERROR = 56
SIZE = 48 << 20
PARTITIONS = 8


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with room for 48 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "ottla-test", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here: " + made.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def commit(connection, group: str, topic: str, offset: int) -> int:
    """OffsetCommit 2 from outside of a group's generation: the error code."""
    body = wire.text(group) + struct.pack(">i", -1) + wire.text("") + struct.pack(">q", -1)
    body += struct.pack(">i", 1) + wire.text(topic) + struct.pack(">iiq", 1, 0, offset) + wire.text("")
    answer = connection.ask(wire.header(8, 2) + body)
    return struct.unpack_from(">h", answer, len(answer) - 2)[0]


def coordinator(connection, group: str) -> None:
    """FindCoordinator 0, until there is one: it makes __consumer_offsets."""
    for _ in range(200):
        answer = connection.ask(wire.header(10, 0) + wire.text(group))
        if struct.unpack_from(">h", answer, 4)[0] == 0 and commit(connection, group, "full", 0) == 0:
            return
        time.sleep(0.05)
    raise AssertionError("no coordinator")


def full_to_the_last_byte(path: pathlib.Path) -> None:
    with open(path, "ab", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_a_full_disk(make_broker, small_disk):
    broker = make_broker({"log.dirs": str(small_disk / "data"), "offsets.topic.num.partitions": 4})
    broker.data = small_disk / "data"
    broker.start()
    ballast = [small_disk / f"ballast-{round}" for round in range(3)]
    for one in ballast:
        one.write_bytes(b"\0" * (6 << 20))
    with wire.Connection(broker.port, timeout=30) as connection:
        assert connection.create_topic("full", PARTITIONS, {"segment.bytes": "1048576"}) == 0
        coordinator(connection, "group")
        _, producer, _ = connection.init_producer_id()
        ends = [0] * PARTITIONS

        def produce(partition: int, value: bytes) -> int:
            records = wire.batch([value], producer=producer, epoch=0, sequence=ends[partition])
            error, offset = connection.produce("full", partition, records)
            if error == 0:
                assert offset == ends[partition], "an offset is missing"
                ends[partition] += 1
            return error

        for one in ballast:
            refused = set()
            while len(refused) < PARTITIONS:
                for partition in set(range(PARTITIONS)) - refused:
                    if error := produce(partition, b"x" * 50_000):
                        assert error == KAFKA_STORAGE_ERROR
                        refused.add(partition)
            full_to_the_last_byte(one)
            # For a while everybody tries, and gets the error at once; marks and checkpoints come due meanwhile.
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                for partition in range(PARTITIONS):
                    assert produce(partition, b"x" * 50_000) == KAFKA_STORAGE_ERROR
                    assert connection.end_offset("full", partition) == ends[partition]
                time.sleep(0.05)
            # Neither a group's commit nor a new topic ends anything; what they are answered is theirs.
            committed = {commit(connection, "group", "full", i) for i in range(200)}
            topic = connection.create_topic(f"{one.name}-topic")
            print(f"{sum(ends)} batches, then full: commits answered {committed}, a topic {topic}")
            # All that was acknowledged can be read, by offset and by time.
            for partition in range(PARTITIONS):
                for offset in range(ends[partition]):
                    error, high, records = connection.fetch("full", partition, offset, max_bytes=60_000)
                    assert (error, high) == (0, ends[partition])
                    assert struct.unpack_from(">q", records)[0] == offset
                assert connection.end_offset("full", partition, timestamp=1000) == 0
            broker.check()
            # Room again: writes go on, in order, without a restart.
            one.unlink()
            for partition in range(PARTITIONS):
                assert produce(partition, b"x" * 50_000) == 0
            assert commit(connection, "group", "full", 1) == 0
            assert connection.create_topic(f"{one.name}-after") == 0
            assert connection.produce(f"{one.name}-after", 0, wire.batch([b"x"])) == (0, 0)
            assert broker.resident_mb() < 150
    print(f"{broker.log().count(chr(10))} lines in the log")
    broker.kill()
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert [connection.end_offset("full", partition) for partition in range(PARTITIONS)] == ends
    broker.stop()
    for partition in range(PARTITIONS):
        found = list(logfile.batches(broker.data / f"full-{partition}"))
        assert [one.base_offset for one in found] == list(range(ends[partition]))
        assert all(one.crc_right for one in found)


def test_a_start_and_an_end_on_a_full_disk(make_broker, small_disk):
    """Nothing is lost by it; once there is room everything is as it was."""
    broker = make_broker({"log.dirs": str(small_disk / "data")})
    broker.data = small_disk / "data"
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.create_topic("kept", PARTITIONS) == 0
        for offset in range(20):
            for partition in range(PARTITIONS):
                assert connection.produce("kept", partition, wire.batch([b"x" * 5000])) == (0, offset)
    full_to_the_last_byte(small_disk / "ballast")
    broker.stop()
    try:
        broker.start()
    except AssertionError as problem:
        print(problem)
        broker.process.wait()
        assert broker.process.returncode == 1
        broker.process = None
    else:
        with wire.Connection(broker.port) as connection:
            for partition in range(PARTITIONS):
                assert connection.fetch("kept", partition, 7, max_bytes=6000)[0] == 0
        broker.kill()
    (small_disk / "ballast").unlink()
    broker.start()
    with wire.Connection(broker.port) as connection:
        for partition in range(PARTITIONS):
            assert connection.end_offset("kept", partition) == 20
            assert connection.produce("kept", partition, wire.batch([b"x"])) == (0, 20)
    broker.stop()


def test_topics_are_deleted_on_a_full_disk(make_broker, small_disk):
    """The metadata has room in reserve; what a deletion frees is there at once, and writes go on by themselves."""
    broker = make_broker({"log.dirs": str(small_disk / "data")})
    broker.data = small_disk / "data"
    broker.start()
    with wire.Connection(broker.port, timeout=30) as connection:
        for topic in ("kept", "first", "second"):
            assert connection.create_topic(topic, 1) == 0
        assert (small_disk / "data" / "ottla-metadata.sqlite-reserve").stat().st_size == 4 << 20
        records = wire.batch([b"x" * 200_000])
        kept = 0
        for topic in ("first", "second"):
            for _ in range(40):
                assert connection.produce(topic, 0, records)[0] == 0
        while (error := connection.produce("kept", 0, records)[0]) == 0:
            kept += 1
        assert error == KAFKA_STORAGE_ERROR
        full_to_the_last_byte(small_disk / "ballast")
        for topic in ("first", "second"):
            assert connection.produce("kept", 0, records)[0] == KAFKA_STORAGE_ERROR
            assert connection.delete_topic(topic) == 0
            end = time.monotonic() + 10
            while connection.produce("kept", 0, records)[0] != 0:
                assert time.monotonic() < end, "no room comes back"
                time.sleep(0.05)
            kept += 1
            while connection.produce("kept", 0, records)[0] == 0:
                kept += 1
        assert connection.end_offset("kept", 0) == kept
    assert broker.log().count("No space left") < 60
    broker.kill()
    (small_disk / "ballast").unlink()
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset("kept", 0) == kept
        assert connection.end_offset("first", 0) < 0
        assert connection.produce("kept", 0, records) == (0, kept)
    broker.stop()
