"""How long it takes to the first answer, and what memory it needs then: 40 ms and 30 MB are the goals.

Both are printed. The time by the clock also counts what others do on the machine, so its bound is loose; the broker's
own CPU time has a tight one.
"""

import pathlib
import statistics
import subprocess
import time

from support import wire
from support.broker import Broker, environment


def first_answer(broker: Broker) -> float:
    """Milliseconds from exec to the first answer to ApiVersions; looks every fifth of a millisecond."""
    with open(broker.log_path, "ab") as log:
        words = broker.command()
        began = time.monotonic()
        broker.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=broker.folder, env=environment()
        )
    while time.monotonic() - began < 20:
        try:
            with wire.Connection(broker.port) as connection:
                connection.api_versions()
            return (time.monotonic() - began) * 1000
        except OSError:
            time.sleep(0.0002)
    raise AssertionError(f"no answer:\n{broker.tail()}")


def processor_ms(broker: Broker) -> float:
    """CPU time of all its threads so far."""
    tasks = pathlib.Path(f"/proc/{broker.pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in tasks) / 1e6


def test_empty_folder(make_broker, record_property):
    times, memory, work = [], [], []
    for round in range(7):
        broker = make_broker(name=f"empty-{round}")
        times.append(first_answer(broker))
        memory.append(broker.resident_mb())
        work.append(processor_ms(broker))
        broker.stop()
    print(
        f"exec to first answer, empty folder: best {min(times):.0f}, median {statistics.median(times):.0f} ms "
        f"of {len(times)}, of which {statistics.median(work):.0f} ms on a CPU; resident then {statistics.median(memory):.1f} MB"
    )
    record_property("first_answer_ms", f"{min(times):.0f}")
    record_property("resident_mb", f"{statistics.median(memory):.1f}")
    assert statistics.median(work) < 40
    assert min(times) < 400
    assert statistics.median(memory) < 30


def test_folder_in_use_before(make_broker):
    """A thousand partitions, closed cleanly: loading them is quick."""
    broker = make_broker()
    broker.start()
    with wire.Connection(broker.port, timeout=60) as connection:
        assert connection.create_topic("wide", 1000) == 0
        for partition in range(0, 1000, 10):
            assert connection.produce("wide", partition, wire.batch([b"x" * 100])) == (0, 0)
    descriptors = broker.descriptors()
    broker.stop()
    took = first_answer(broker)
    print(f"exec to first answer, 1,000 partitions: {took:.0f} ms, {broker.resident_mb():.1f} MB, {descriptors} files")
    with wire.Connection(broker.port) as connection:
        assert connection.end_offset("wide", 990) == 1
    assert took < 2000
    broker.stop()
