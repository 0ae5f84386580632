"""More partitions than the process may have files open: all of them are written, read, closed cleanly and opened again.

1,000 by default; OTTLA_MANY_PARTITIONS=10000 (with OTTLA_MANY_FILES=20000, say) prints what the start of so many takes.
"""

import os
import time

from support import wire

PARTITIONS = int(os.environ.get("OTTLA_MANY_PARTITIONS", 1000))
FILES = int(os.environ.get("OTTLA_MANY_FILES", 400))


def write_all(broker, expected: int) -> float:
    """One batch to each partition; the seconds that it took."""
    probe = wire.batch([b"x" * 200])
    began = time.monotonic()
    with wire.Connection(broker.port, timeout=60) as connection:
        for first in range(0, PARTITIONS, 200):
            some = range(first, min(first + 200, PARTITIONS))
            for partition in some:
                connection.send(wire.framed(wire.produce_request("many", partition, probe)))
            for partition in some:
                assert wire.produce_answer(connection.answer(), "many") == (0, expected), partition
    return time.monotonic() - began


def test_many_partitions(make_broker, record_property):
    broker = make_broker()
    broker.prefix = ["prlimit", f"--nofile={FILES}:{FILES}", "--"]
    broker.start()
    began = time.monotonic()
    with wire.Connection(broker.port, timeout=120) as connection:
        assert connection.create_topic("many", PARTITIONS) == 0
    print(f"{PARTITIONS} partitions made in {time.monotonic() - began:.1f} s")
    write_all(broker, 0)
    for round, how in enumerate(["stop", "kill", "stop", "stop"], start=1):
        began = time.monotonic()
        if how == "stop":
            broker.stop(timeout=120)
            assert (broker.data / ".kafka_cleanshutdown").exists(), broker.tail()
        else:
            broker.kill()
        ended = time.monotonic() - began
        answered = broker.start(timeout=60)
        written = write_all(broker, round)
        print(
            f"{how} took {ended:.2f} s; first answer after {answered:.2f} s, all written {written:.2f} s later; "
            f"{broker.descriptors()} files open, {broker.resident_mb():.0f} MB; load {os.getloadavg()[0]:.1f}"
        )
        with wire.Connection(broker.port, timeout=60) as connection:
            for partition in range(0, PARTITIONS, 7):
                error, high, records = connection.fetch("many", partition, 0, max_bytes=100_000)
                assert (error, high) == (0, round + 1)
                assert len(records) == (round + 1) * len(wire.batch([b"x" * 200]))
                assert connection.end_offset("many", partition, timestamp=1) == 0
    record_property("start_s", f"{answered:.2f}")
    # Once nobody uses them half of the files that may be open are left to connections.
    end = time.monotonic() + 10
    while broker.descriptors() > FILES * 0.6 and time.monotonic() < end:
        time.sleep(0.1)
    assert broker.descriptors() <= FILES * 0.6
    log = broker.log()
    assert "Too many open files" not in log
    broker.stop(timeout=120)
