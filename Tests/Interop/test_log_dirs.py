"""Several data folders: who gets what, moves under load, and folders that fail."""

import fcntl
import pathlib
import struct
import subprocess
import threading
import time

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from support import wire
from support.clients import CLIENTS, ClientError, Record

KAFKA_STORAGE_ERROR = 56
EXT4_IOC_SHUTDOWN = 0x8004587D


def names(folder: pathlib.Path, topic: str) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name.startswith(topic + "-"))


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture
def three(tmp_path):
    return [tmp_path / f"data-{i}" for i in range(3)]


def setting(folders) -> str:
    return ",".join(map(str, folders))


@pytest.fixture
def failing_disk(tmp_path):
    """A file system of its own that can be made to fail: (folder, fail, mend)."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(96 << 20)

    def mount():
        return subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False)

    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True, check=False)
    made = made if made.returncode else mount()
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here: " + made.stderr.decode().strip())

    def fail():
        with open(folder / "data" / "meta.properties") as file:
            fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", 1))

    def mend():
        subprocess.run(["umount", "-l", folder], check=True)
        assert mount().returncode == 0

    yield folder, fail, mend
    subprocess.run(["umount", "-l", folder], check=False)


def test_partitions_are_spread_and_told(make_broker, three, topic):
    broker = make_broker({"log.dirs": setting(three)})
    broker.start()
    java = CLIENTS["java"](broker.address)
    java.create_topic(topic, 6)
    for partition in range(6):
        java.produce(topic, [Record(value=b"x" * 1000, partition=partition)])
    found = java.log_dirs()
    assert set(found) == set(map(str, three))
    for folder in found.values():
        assert folder["error"] == "-" and folder["total"] > folder["usable"] > 0
        mine = {key: value for key, value in folder["replicas"].items() if key[0] == topic}
        assert len(mine) == 2
        assert all(len(one) == 1 and one[0][0] > 1000 and one[0][1:] == (0, False) for one in mine.values())
    described = CLIENTS["kafka-python"](broker.address)._ask("describe_log_dirs")
    assert topic in str(described)
    java.close()


def test_cordoned_folders(make_broker, three, topic):
    """KIP-1066: a folder that is cordoned, at the start or later, gets no new partitions; with all of them no topic."""
    broker = make_broker({"log.dirs": setting(three), "cordoned.log.dirs": str(three[0])})
    broker.start()
    one = CLIENTS["confluent-kafka"](broker.address)

    def cordon(value):
        change = ConfigEntry("cordoned.log.dirs", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[change])
        admin = AdminClient({"bootstrap.servers": broker.address})
        (answer,) = admin.incremental_alter_configs([resource]).values()
        answer.result()

    one.create_topic(topic, 4)
    assert [len(names(folder, topic)) for folder in three] == [0, 2, 2]
    cordon("*")
    for refused in (lambda: one.create_topic(topic + "-2"), lambda: one.add_partitions(topic, 5)):
        with pytest.raises(ClientError, match=r"(?i)replication.?factor"):
            refused()
    with pytest.raises(KafkaException, match="folders of log.dirs"):
        cordon("/elsewhere")
    cordon(setting(three[1:]))
    one.add_partitions(topic, 8)
    assert [len(names(folder, topic)) for folder in three] == [4, 2, 2]
    broker.restart()
    one.create_topic(topic + "-2", 2)
    assert [len(names(folder, topic + "-2")) for folder in three] == [2, 0, 0]
    with wire.Connection(broker.port) as connection:
        assert connection.create_topic(topic + "-3", 1) == 0


@pytest.mark.parametrize("mover", ["java", "kafka-python"])
def test_a_move_under_load(make_broker, three, topic, mover):
    broker = make_broker({"log.dirs": setting(three)})
    broker.start()
    admin = CLIENTS[mover](broker.address)
    admin.create_topic(topic, 1, {"segment.bytes": "1048576"})
    stopping, acknowledged, problems = threading.Event(), [0], []

    def write():
        try:
            with wire.Connection(broker.port, timeout=30) as connection:
                _, producer, _ = connection.init_producer_id()
                while not stopping.is_set():
                    number = acknowledged[0]
                    value = struct.pack(">q", number) + b"x" * 5000
                    records = wire.batch([value], producer=producer, epoch=0, sequence=number)
                    answer = connection.produce(topic, 0, records)
                    assert answer == (0, number), answer
                    acknowledged[0] += 1
        except Exception as problem:  # noqa: BLE001
            problems.append(repr(problem))

    def read():
        try:
            offset = 0
            with wire.Connection(broker.port, timeout=30) as connection:
                while not stopping.is_set() or offset < acknowledged[0]:
                    error, _, records = connection.fetch(topic, 0, offset, max_wait=100, max_bytes=6000)
                    assert error == 0, error
                    if records:
                        assert struct.unpack_from(">q", records)[0] == offset
                        offset += 1
        except Exception as problem:  # noqa: BLE001
            problems.append(repr(problem))

    threads = [threading.Thread(target=one) for one in (write, read)]
    for one in threads:
        one.start()
    for target in (1, 2, 0, 2):
        wait_for(lambda before=acknowledged[0]: acknowledged[0] > before + 100 or problems)
        if mover == "java":
            admin.move(topic, three[target])
        else:
            answer = admin._ask("alter_replica_log_dirs", {(topic, 0, 1): str(three[target])})
            assert "NoError" in str(answer)
        wait_for(lambda: [names(one, topic) for one in three] == [[f"{topic}-0"] * (i == target) for i in range(3)])
    stopping.set()
    for one in threads:
        one.join()
    assert not problems, problems
    print(f"{acknowledged[0]} written and read")
    if mover == "java":
        with pytest.raises(ClientError, match="LogDirNotFound"):
            admin.move(topic, "/nowhere")
        with pytest.raises(ClientError, match="UnknownTopic"):
            admin.move(topic, three[0], partition=5)
    admin.close()
    broker.kill()
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset(topic, 0) == acknowledged[0]
    assert names(three[2], topic) == [f"{topic}-0"]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_move_survives_a_restart(make_broker, three, topic, how):
    slow = {"replica.alter.log.dirs.io.max.bytes.per.second": 1_000_000}
    broker = make_broker({"log.dirs": setting(three), **slow})
    broker.start()
    java = CLIENTS["java"](broker.address)
    java.create_topic(topic, 1)
    with wire.Connection(broker.port) as connection:
        for _ in range(60):
            assert connection.produce(topic, 0, wire.batch([b"x" * 100_000]))[0] == 0
    java.move(topic, three[1])
    wait_for(lambda: names(three[1], topic) != [])
    replicas = java.log_dirs()[str(three[1])]["replicas"][(topic, 0)]
    assert [one[2] for one in replicas] == [True] and replicas[0][1] > 0
    java.close()
    assert names(three[1], topic)[0].endswith("-future")
    broker.kill() if how == "kill" else broker.stop()
    del broker.overrides[next(iter(slow))]
    broker.start()
    wait_for(lambda: [names(one, topic) for one in three] == [[], [f"{topic}-0"], []])
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset(topic, 0) == 60
        assert connection.fetch(topic, 0, 0)[0] == 0


def test_a_folder_fails(make_broker, three, failing_disk, topic):
    disk, fail, mend = failing_disk
    folders = [three[0], disk / "data", three[2]]
    broker = make_broker({"log.dirs": setting(folders), "offsets.topic.num.partitions": 3})
    broker.start()
    java = CLIENTS["java"](broker.address)
    with wire.Connection(broker.port, timeout=30) as connection:
        assert connection.create_topic(topic, 6) == 0
        lost = {int(name.rsplit("-", 1)[1]) for name in names(folders[1], topic)}
        assert len(lost) == 2
        ends = [0] * 6
        for _ in range(20):
            for partition in range(6):
                assert connection.produce(topic, partition, wire.batch([b"x" * 3000])) == (0, ends[partition])
                ends[partition] += 1
        subprocess.run(["sync"], check=True)
        fail()
        # Somebody's write finds it out; that one is refused too.
        for partition in lost:
            assert connection.produce(topic, partition, wire.batch([b"x"]))[0] == KAFKA_STORAGE_ERROR
        wait_for(lambda: connection.end_offset(topic, min(lost)) == -1000 - KAFKA_STORAGE_ERROR)
        for _ in range(20):
            for partition in range(6):
                error, offset = connection.produce(topic, partition, wire.batch([b"x" * 3000]))
                if partition in lost:
                    assert error == KAFKA_STORAGE_ERROR
                    assert connection.fetch(topic, partition, 0)[0] in (KAFKA_STORAGE_ERROR, 6)
                    assert connection.end_offset(topic, partition) == -1000 - KAFKA_STORAGE_ERROR
                else:
                    assert (error, offset) == (0, ends[partition])
                    ends[partition] += 1
        found = java.log_dirs()
        assert {name: one["error"] for name, one in found.items()} == {
            str(folders[0]): "-",
            str(folders[1]): "KafkaStorageException",
            str(folders[2]): "-",
        }
        # New topics go to the others, old ones can be deleted.
        assert connection.create_topic(topic + "-new", 4) == 0
        for partition in range(4):
            assert connection.produce(topic + "-new", partition, wire.batch([b"x"])) == (0, 0)
    java.close()
    broker.check()
    assert f"data folder {folders[1]} has failed" in broker.log()
    broker.stop()
    # Still broken at the next start: offline, the others are served.
    broker.start()
    with wire.Connection(broker.port) as connection:
        for partition in range(6):
            expected = -1000 - KAFKA_STORAGE_ERROR if partition in lost else ends[partition]
            assert connection.end_offset(topic, partition) == expected
    broker.kill()
    mend()
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert [connection.end_offset(topic, partition) for partition in range(6)] == ends
        for partition in range(6):
            assert connection.produce(topic, partition, wire.batch([b"x"])) == (0, ends[partition])
    broker.stop()


def test_the_folder_of_the_metadata_fails(make_broker, three, failing_disk, topic):
    disk, fail, mend = failing_disk
    broker = make_broker({"log.dirs": setting([disk / "data", three[1]])})
    broker.start()
    with wire.Connection(broker.port, timeout=30) as connection:
        assert connection.create_topic(topic, 2) == 0
        for partition in range(2):
            assert connection.produce(topic, partition, wire.batch([b"x" * 3000])) == (0, 0)
    subprocess.run(["sync"], check=True)
    fail()
    with wire.Connection(broker.port, timeout=30) as connection:
        try:
            for partition in range(2):
                connection.produce(topic, partition, wire.batch([b"x" * 3000]))
        except OSError:
            pass
    broker.process.wait(timeout=30)
    assert broker.process.returncode == 1
    assert "nothing can be served without it" in broker.log()
    broker.process = None
    mend()
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset(topic, 0) >= 1 and connection.end_offset(topic, 1) >= 1
    broker.stop()


def test_a_folder_that_cannot_be_used_at_the_start(make_broker, three, topic):
    broker = make_broker({"log.dirs": setting(three)})
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.create_topic(topic, 6) == 0
        for partition in range(6):
            assert connection.produce(topic, partition, wire.batch([b"x"])) == (0, 0)
    broker.stop()
    away = three[1].rename(three[1].with_name("away"))
    three[1].write_text("not a folder")
    broker.start()
    with wire.Connection(broker.port) as connection:
        ends = [connection.end_offset(topic, partition) for partition in range(6)]
        assert sorted(ends) == [-1000 - KAFKA_STORAGE_ERROR] * 2 + [1] * 4
    broker.stop()
    three[1].unlink()
    away.rename(three[1])
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert [connection.end_offset(topic, partition) for partition in range(6)] == [1] * 6
    broker.stop()
