"""A topic is deleted while it is written and read, and made again at once under its name."""

import struct
import threading
import time

from support import wire

BROKER_OVERRIDES = {"log.segment.delete.delay.ms": 500, "log.retention.check.interval.ms": 500}
PARTITIONS = 4
OFFSET_OUT_OF_RANGE = 1  # in the next topic of the same name
GONE = {3, 6}  # UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER
WRITERS, READERS = 4, 4


def test_deleted_while_it_is_used(broker):
    stopping = threading.Event()
    problems: list[str] = []
    written, read, refused = [0] * WRITERS, [0] * READERS, [0]

    def write(number: int) -> None:
        records = wire.batch([b"x" * 40_000] * 3)
        with wire.Connection(broker.port, timeout=20) as connection:
            while not stopping.is_set():
                error, _ = connection.produce("used", number % PARTITIONS, records)
                if error == 0:
                    written[number] += 1
                elif error in GONE:
                    refused[0] += 1
                else:
                    problems.append(f"produce: {error}")

    def reader(number: int) -> None:
        offset = 0
        with wire.Connection(broker.port, timeout=20) as connection:
            while not stopping.is_set():
                # With a wait, so that some are parked when the topic goes.
                error, _, records = connection.fetch("used", number % PARTITIONS, offset, max_wait=50)
                if error == 0 and records:
                    first = struct.unpack_from(">q", records)[0]
                    if first != offset:
                        problems.append(f"offset {first}, not {offset}")
                    offset += 3
                    read[number] += 1
                elif error == OFFSET_OUT_OF_RANGE or error in GONE:
                    offset = max(0, connection.end_offset("used", number % PARTITIONS, timestamp=-2))
                elif error != 0:
                    problems.append(f"fetch: {error}")

    def work(body, number):
        try:
            body(number)
        except Exception as problem:  # noqa: BLE001
            problems.append(f"{body.__name__}: {problem!r}")

    with wire.Connection(broker.port, timeout=20) as admin:
        configs = {"segment.bytes": "1048576", "retention.bytes": "3000000"}
        assert admin.create_topic("used", PARTITIONS, configs) == 0
        threads = [threading.Thread(target=work, args=(write, i)) for i in range(WRITERS)]
        threads += [threading.Thread(target=work, args=(reader, i)) for i in range(READERS)]
        for one in threads:
            one.start()
        for _ in range(30):
            time.sleep(0.1)
            assert admin.delete_topic("used") == 0
            # At once, although the folders of before are still there.
            assert admin.create_topic("used", PARTITIONS, configs) == 0
        time.sleep(0.3)
        assert admin.delete_topic("used") == 0
        stopping.set()
        for one in threads:
            one.join()
        assert not problems, problems[:10]
        assert min(written) > 0 and min(read) > 0 and refused[0] > 0
        print(f"{sum(written)} batches written, {sum(read)} read, {refused[0]} refused")
        end = time.monotonic() + 20
        while left := [one.name for one in broker.data.iterdir() if one.name.startswith("used")]:
            assert time.monotonic() < end, left
            time.sleep(0.1)
    # Nothing of them is held open either.
    assert not [one for one in broker.open_files() if "/used-" in one]
