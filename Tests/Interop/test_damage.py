"""What a hand, or a power cut, may have done to the files of a partition: the broker starts, keeps what is whole, and goes
on from there. After a kill and after a clean end.
"""

import random

import pytest

from support import logfile, wire

BATCHES = 400
VALUE = b"x" * 1000


def cut(data, name):
    """The active segment ends in the middle of its last batch but two."""
    data.truncate(name, 2.5)


def cut_between(data, name):
    data.truncate(name, 3)


def garbage(data, name):
    data.append(name, random.Random(1).randbytes(3000))


def zeros(data, name):
    data.append(name, bytes(5000))


def a_batch_with_a_wrong_crc(data, name):
    batch = bytearray(data.batch(BATCHES))
    batch[-5] ^= 1
    data.append(name, bytes(batch))


def half_a_batch(data, name):
    data.append(name, data.batch(BATCHES)[:700])


def no_indexes(data, name):
    for one in data.indexes(name):
        one.unlink()


def indexes_of_garbage(data, name):
    for one in data.indexes(name):
        one.write_bytes(random.Random(2).randbytes(one.stat().st_size))


def indexes_of_zeros(data, name):
    for one in data.indexes(name):
        one.write_bytes(bytes(one.stat().st_size))


def indexes_that_are_torn(data, name):
    for one in data.indexes(name):
        one.write_bytes(one.read_bytes()[:-5])


def indexes_of_another(data, name):
    for one in data.indexes(name):
        content = one.read_bytes()
        one.write_bytes(content[: len(content) // 24 * 12] + random.Random(3).randbytes(len(content) // 24 * 12))


def small_files(data, name):
    """All that is beside the log: of garbage."""
    for one in (data.folder / f"{name}-0").iterdir():
        if one.suffix not in (".log",):
            one.write_bytes(random.Random(4).randbytes(150))


def empty_files(data, name):
    """As a power cut leaves files that were never synced."""
    for one in (data.folder / f"{name}-0").iterdir():
        if one.suffix not in (".log",):
            one.write_bytes(b"")


LOST = {cut: 3, cut_between: 3}
DAMAGES = [
    cut,
    cut_between,
    garbage,
    zeros,
    a_batch_with_a_wrong_crc,
    half_a_batch,
    no_indexes,
    indexes_of_garbage,
    indexes_of_zeros,
    indexes_that_are_torn,
    indexes_of_another,
    small_files,
    empty_files,
]


class Data:
    """The data folder of a broker that does not run."""

    def __init__(self, folder, producer):
        self.folder, self.producer = folder, producer

    def segment(self, name):
        return sorted((self.folder / f"{name}-0").glob("*.log"))[-1]

    def indexes(self, name):
        return list((self.folder / f"{name}-0").glob("*index"))

    def append(self, name, tail):
        with open(self.segment(name), "ab") as file:
            file.write(tail)

    def truncate(self, name, batches):
        size = self.segment(name).stat().st_size
        with open(self.segment(name), "r+b") as file:
            file.truncate(size - int(batches * len(self.batch(0))))

    def batch(self, sequence):
        return wire.batch([VALUE], producer=self.producer, epoch=0, sequence=sequence, timestamp=1000 + sequence)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_damaged_files(make_broker, how):
    broker = make_broker()
    broker.start()
    with wire.Connection(broker.port) as connection:
        _, producer, _ = connection.init_producer_id()
        data = Data(broker.data, producer)
        for damage in DAMAGES:
            configs = {"segment.bytes": str(1 << 20)} if damage is no_indexes else {}
            assert connection.create_topic(damage.__name__, 1, {"index.interval.bytes": "2000", "retention.ms": "-1", **configs}) == 0
            for sequence in range(BATCHES):
                connection.send(wire.framed(wire.produce_request(damage.__name__, 0, data.batch(sequence))))
            for sequence in range(BATCHES):
                assert wire.produce_answer(connection.answer(), damage.__name__) == (0, sequence)
            # Its indexes are in the files then.
            assert connection.end_offset(damage.__name__, 0, timestamp=1200) == 200
    getattr(broker, how)()
    for damage in DAMAGES:
        damage(data, damage.__name__)

    broker.start()
    for round in range(2):
        with wire.Connection(broker.port) as connection:
            for damage in DAMAGES:
                name = damage.__name__
                end = BATCHES - LOST.get(damage, 0) + round
                assert connection.end_offset(name, 0) == end, name
                for offset in [*range(0, end, 37), end - 1]:
                    error, high, records = connection.fetch(name, 0, offset, max_bytes=100)
                    assert (error, high) == (0, end), name
                    assert records[: len(data.batch(0))][61:] == data.batch(offset)[61:], name
                for timestamp in range(1000, 1000 + end, 29):
                    assert connection.end_offset(name, 0, timestamp=timestamp) == timestamp - 1000, name
                assert connection.end_offset(name, 0, timestamp=1000 + end) == -1, name
                # The producer goes on where the log ends, and is known.
                assert connection.produce(name, 0, data.batch(end - 1)) == (0, end - 1), f"{name}: a duplicate"
                assert connection.produce(name, 0, data.batch(end + 1))[0] == 45, f"{name}: out of order"
                assert connection.produce(name, 0, data.batch(end)) == (0, end), name
        broker.check()
        getattr(broker, "kill" if how == "stop" else "stop")()
        broker.start()
    broker.stop()
    for damage in DAMAGES:
        found = list(logfile.batches(broker.data / f"{damage.__name__}-0"))
        assert [one.base_offset for one in found] == list(range(BATCHES - LOST.get(damage, 0) + 2))
        assert all(one.crc_right for one in found)


FILES = [
    "ottla-boot-marks",
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    ".kafka_cleanshutdown",
]


@pytest.mark.parametrize("content", [None, b"", b"garbage", bytes(5000)], ids=["missing", "empty", "garbage", "zeros"])
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_damaged_files_of_the_folder(make_broker, how, content):
    """Those by which a start knows what to read: without them it reads more."""
    broker = make_broker()
    broker.start()
    with wire.Connection(broker.port) as connection:
        connection.create_topic("t", 3)
        for offset in range(20):
            for partition in range(3):
                assert connection.produce("t", partition, wire.batch([VALUE])) == (0, offset)
    getattr(broker, how)()
    for name in FILES:
        if content is None:
            (broker.data / name).unlink(missing_ok=True)
        else:
            (broker.data / name).write_bytes(content)
    broker.start()
    with wire.Connection(broker.port) as connection:
        for partition in range(3):
            assert connection.end_offset("t", partition) == 20
            assert len(connection.fetch("t", partition, 0)[2]) == 20 * len(wire.batch([VALUE]))
            assert connection.produce("t", partition, wire.batch([VALUE])) == (0, 20)
    broker.stop()
