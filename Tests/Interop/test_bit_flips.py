"""One bit flipped, while the broker is stopped, in any file of a data folder: what was damaged is never served as if it
were right. Docs/DAMAGE.md has the table; this is its proof.

    OTTLA_FLIPS=50 script/test interop -k bit_flips      more bits of each file
    OTTLA_FLIP_SEED=...                                   the same ones again
    OTTLA_FLIP_FILES=sqlite                               only files whose path has this
"""

import collections
import os
import pathlib
import random
import re
import shutil
import struct

import pytest

from support import wire

FLIPS = int(os.environ.get("OTTLA_FLIPS", 1))
SEED = int(os.environ.get("OTTLA_FLIP_SEED", random.randrange(1 << 32)))
ONLY = os.environ.get("OTTLA_FLIP_FILES", "")
BATCH = 20_000
# Topic -> partitions, configs, batches in each partition.
TOPICS = {
    "segments": (1, {"segment.bytes": str(1 << 20), "retention.ms": "-1", "index.interval.bytes": "30000"}, 160),
    "small": (2, {"retention.ms": "-1"}, 3),
    "head": (1, {"segment.bytes": str(1 << 20), "retention.ms": "-1"}, 70),
    "empty": (1, {}, 0),
}
HEAD = 60  # what DeleteRecords left in front of `head`
GROUP, COMMITTED = "readers", {("segments", 0): 91, ("small", 1): 2}
# Kafka's codes for what cannot be told: corrupt, storage, not available.
ERRORS = {2, 56, 15, 16}


def content(topic: str, partition: int, number: int) -> bytes:
    return random.Random(f"{topic}-{partition}-{number}").randbytes(BATCH)


def commit(connection, group, offsets):
    """OffsetCommit 2, as a consumer outside of a group's protocol."""
    body = wire.text(group) + struct.pack(">i", -1) + wire.text("") + struct.pack(">q", -1)
    body += struct.pack(">i", len(offsets))
    for (topic, partition), offset in offsets.items():
        body += wire.text(topic) + struct.pack(">iiq", 1, partition, offset) + wire.text("")
    answer = connection.ask(wire.header(8, 2) + body)
    position = 8
    for _ in offsets:
        (length,) = struct.unpack_from(">h", answer, position)
        _, _, error = struct.unpack_from(">iih", answer, position + 2 + length)
        assert error == 0, error
        position += 2 + length + 10


def committed(connection, group, partitions):
    """OffsetFetch 2: (error, offset) of each."""
    body = wire.text(group) + struct.pack(">i", len(partitions))
    for topic, partition in partitions:
        body += wire.text(topic) + struct.pack(">ii", 1, partition)
    answer = connection.ask(wire.header(9, 2) + body)
    (failed,) = struct.unpack_from(">h", answer, len(answer) - 2)
    found, position = {}, 8
    for _ in range(struct.unpack_from(">i", answer, 4)[0]):
        (length,) = struct.unpack_from(">h", answer, position)
        topic = answer[position + 2 : position + 2 + length].decode()
        position += 2 + length
        (count,) = struct.unpack_from(">i", answer, position)
        position += 4
        for _ in range(count):
            partition, offset, text = struct.unpack_from(">iqh", answer, position)
            (error,) = struct.unpack_from(">h", answer, position + 14 + max(0, text))
            found[topic, partition] = error or offset
            position += 16 + max(0, text)
    return {key: -1000 - failed if failed else found[key] for key in partitions}


def wait_for_group(connection, group):
    """FindCoordinator 0 until the group's shard is loaded."""
    for _ in range(200):
        answer = connection.ask(wire.header(10, 0) + wire.text(group))
        if struct.unpack_from(">h", answer, 4)[0] == 0:
            found = committed(connection, group, [("segments", 0)])
            if found["segments", 0] not in (14, -1014):
                return
    raise AssertionError("the group's coordinator does not load")


def delete_records(connection, topic, partition, offset):
    body = struct.pack(">i", 1) + wire.text(topic) + struct.pack(">iiq", 1, partition, offset) + struct.pack(">i", 10000)
    answer = connection.ask(wire.header(21, 0) + body)
    assert struct.unpack_from(">h", answer, len(answer) - 2)[0] == 0, answer


class Folder:
    """A data folder with all kinds of files, and what it must answer."""

    def __init__(self, make_broker, how):
        self.broker = make_broker(name=f"made-{how}")
        self.broker.start()
        self.bases = collections.defaultdict(list)  # (topic, partition) -> base offset of each batch
        with wire.Connection(self.broker.port, timeout=30) as connection:
            _, self.producer, _ = connection.init_producer_id()
            for topic, (partitions, configs, count) in TOPICS.items():
                assert connection.create_topic(topic, partitions, configs) == 0
                for partition in range(partitions):
                    for number in range(count):
                        assert connection.produce(topic, partition, self.batch(topic, partition, number)) == (0, number)
            delete_records(connection, "head", 0, HEAD)
            wait_for_group(connection, GROUP)
            commit(connection, GROUP, COMMITTED)
        getattr(self.broker, how)()
        self.folder = self.broker.data

    def batch(self, topic, partition, number):
        return wire.batch(
            [content(topic, partition, number)], producer=self.producer, epoch=0, sequence=number,
            timestamp=1000 + 10 * number,
        )

    def files(self):
        return sorted(
            one.relative_to(self.folder) for one in self.folder.rglob("*") if one.is_file() and one.stat().st_size > 0
        )


def observe(port, folder, may_be_cut, loses_commits):
    """Reads everything and complains of what is neither right nor an error. The offsets that could not be read."""
    refused = []
    with wire.Connection(port, timeout=30) as connection:
        for topic, (partitions, _, count) in TOPICS.items():
            for partition in range(partitions):
                name = f"{topic}-{partition}"
                first = HEAD if topic == "head" else 0
                earliest = connection.end_offset(topic, partition, timestamp=-2)
                assert earliest == first or -1000 - earliest in ERRORS, f"{name} starts at {earliest}"
                latest = connection.end_offset(topic, partition)
                end = count
                if latest != count and -1000 - latest not in ERRORS:
                    assert may_be_cut(name) and latest < count, f"{name} ends at {latest}, not at {count}"
                    end = latest
                for number in range(first, end):
                    error, _, records = connection.fetch(topic, partition, number, max_bytes=1000)
                    if error:
                        assert error in ERRORS, f"{name}, offset {number}: error {error}"
                        refused.append((name, number))
                        continue
                    whole = folder.batch(topic, partition, number)
                    assert records[:8] == struct.pack(">q", number), f"{name}: another offset than {number}"
                    assert records[8:12] == whole[8:12] and records[16 : len(whole)] == whole[16:], f"{name}: {number}"
                for number in range(first, end, max(1, count // 7)):
                    found = connection.end_offset(topic, partition, timestamp=995 + 10 * number)
                    assert found == number or -1000 - found in ERRORS, f"{name}: time {number} at {found}"
                # A duplicate is known for one, and what comes next is taken.
                if end and not refused:
                    last = folder.batch(topic, partition, end - 1)
                    answer = connection.produce(topic, partition, last)
                    assert answer == (0, end - 1) or answer[0] in ERRORS, f"{name}: a duplicate got {answer}"
        wait_for_group(connection, GROUP)
        for key, offset in committed(connection, GROUP, list(COMMITTED)).items():
            # A record of a group that cannot be read is said in the log and left out; the rest is loaded.
            right = offset == COMMITTED[key] or offset == -1 and loses_commits
            assert right or -1000 - offset in ERRORS, f"{key}: {offset} is committed"
    return refused


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_bit_flips(make_broker, tmp_path, how):
    print(f"OTTLA_FLIP_SEED={SEED}")
    choose = random.Random(SEED)
    folder = Folder(make_broker, how)
    outcomes = collections.defaultdict(collections.Counter)
    broker = make_broker(name="flipped")
    problems = []
    for file in [None, *(one for one in folder.files() if ONLY in str(one))]:
        for flip in range(FLIPS):
            shutil.rmtree(broker.data, ignore_errors=True)
            shutil.copytree(folder.folder, broker.data)
            bit = 0
            if file is not None:
                data = bytearray((broker.data / file).read_bytes())
                # Much of what counts is in the first bytes.
                bit = choose.randrange(min(len(data), 100) * 8 if choose.random() < 0.3 else len(data) * 8)
                data[bit // 8] ^= 1 << bit % 8
                (broker.data / file).write_bytes(data)
            kind = "none" if file is None else kind_of(file)
            where = f"{how}, {file}, bit {bit}"
            broker.log_path.write_text("")
            try:
                broker.start(timeout=20)
            except AssertionError as refusal:
                log = broker.log()
                assert broker.process.poll() not in (None, 0), f"{where}: {refusal}"
                broker.process = None
                if re.search(r"Fatal|Backtrace", log) or (file is not None and file.name not in log and kind not in log):
                    problems.append(f"{where}: refused without a clear line: {log[-300:]}")
                outcomes[kind]["refused at the start"] += 1
                continue
            active = None if how == "stop" or file is None or file.suffix != ".log" else file.parent.name
            try:
                is_group = file is not None and file.parent.name.startswith("__consumer_offsets")
                refused = observe(broker.port, folder, lambda name: name == active, is_group)
                broker.check()
            except (AssertionError, OSError) as problem:
                problems.append(f"{where}: {problem}\n{broker.tail(5)}")
                outcomes[kind]["WRONG"] += 1
            else:
                outcomes[kind]["some offsets refused" if refused else "everything right"] += 1
                if refused and file is not None and kind not in (".log",):
                    outcomes[kind][f"refused {refused[0]}"] += 1
                if refused and "offset" not in broker.log():
                    problems.append(f"{where}: refused {refused[:3]} without a line in the log")
            broker.kill()
    for kind, counts in sorted(outcomes.items()):
        print(f"{how:5} {kind:36} {dict(counts)}")
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:8])
    assert outcomes["none"]["everything right"] == FLIPS


def kind_of(file: pathlib.PurePath) -> str:
    return file.suffix if file.suffix and file.suffix[1:] in KINDS else file.name


KINDS = {"log", "index", "timeindex", "txnindex", "snapshot"}
