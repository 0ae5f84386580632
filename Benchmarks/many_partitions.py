#!/usr/bin/env python3
"""What a broker with many partitions takes: their creation, memory, starts, and the latency of a write to each.

    script/bench many                 1,000 topics of 100 partitions, 10,000 of them written
    OTTLA_MANY_TOPICS=20 script/bench many

Prints one line a figure and, with --json, the figures as JSON. Beside the writes stands a plain C program
(`many_files.c`) that writes the same bytes in the same order into the same number of files.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

root = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "Tests" / "Interop"))

from support import wire  # noqa: E402
from support.broker import Broker  # noqa: E402


def number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


TOPICS = number("OTTLA_MANY_TOPICS", 1000)
PER_TOPIC = number("OTTLA_MANY_PER_TOPIC", 100)
WRITTEN = min(number("OTTLA_MANY_WRITTEN", 10_000), TOPICS * PER_TOPIC)
ROUNDS = number("OTTLA_MANY_ROUNDS", 10)
RECORD = number("OTTLA_MANY_RECORD_BYTES", 1000)
FILES = number("OTTLA_MANY_FILES", 4096)
IDLE_S = number("OTTLA_MANY_IDLE_S", 10)

figures: dict[str, float] = {}


def report(name: str, value: float, unit: str) -> None:
    figures[name] = round(value, 3)
    print(f"{name:<52} {value:12.3f} {unit}", flush=True)


def settled_mb(broker: Broker) -> float:
    """Resident memory once it has stopped to fall."""
    last = broker.resident_mb()
    while True:
        time.sleep(1)
        now = broker.resident_mb()
        if now > last - 1:
            return now
        last = now


def cpu_s(broker: Broker) -> float:
    fields = pathlib.Path(f"/proc/{broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(sorted_values: list[float], q: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))]


def targets() -> list[tuple[str, int]]:
    """The partitions that are written: spread evenly over all."""
    every = [(f"topic-{t:04}", p) for t in range(TOPICS) for p in range(PER_TOPIC)]
    return every[:: max(1, len(every) // WRITTEN)][:WRITTEN]


def create(broker: Broker) -> None:
    slowest = 0.0
    began = time.monotonic()
    with wire.Connection(broker.port, timeout=300) as connection:
        for topic in range(TOPICS):
            one = time.monotonic()
            assert connection.create_topic(f"topic-{topic:04}", PER_TOPIC) == 0
            slowest = max(slowest, time.monotonic() - one)
    report("creation, all topics", time.monotonic() - began, "s")
    report("creation, slowest topic", slowest * 1000, "ms")


def write(broker: Broker, some: list[tuple[str, int]], first: int) -> None:
    batch = wire.batch([b"x" * RECORD])
    times: list[float] = []
    with wire.Connection(broker.port, timeout=60) as connection:
        for round in range(ROUNDS):
            for topic, partition in some:
                request = wire.framed(wire.produce_request(topic, partition, batch))
                began = time.perf_counter()
                connection.send(request)
                answer = connection.answer()
                times.append(time.perf_counter() - began)
                assert wire.produce_answer(answer, topic) == (0, first + round), (topic, partition)
    first_round = sorted(times[: len(some)])
    times.sort()
    report(f"produce to {len(some)} partitions, p50", quantile(times, 0.5) * 1000, "ms")
    report(f"produce to {len(some)} partitions, p99.9", quantile(times, 0.999) * 1000, "ms")
    report("produce, first round alone, p99.9", quantile(first_round, 0.999) * 1000, "ms")
    report("produce, slowest", times[-1] * 1000, "ms")


def read(broker: Broker, some: list[tuple[str, int]], expected: int) -> None:
    times: list[float] = []
    size = len(wire.batch([b"x" * RECORD]))
    with wire.Connection(broker.port, timeout=60) as connection:
        for topic, partition in some:
            began = time.perf_counter()
            error, high, records = connection.fetch(topic, partition, 0, max_bytes=1 << 20)
            times.append(time.perf_counter() - began)
            assert (error, high, len(records)) == (0, expected, expected * size), (topic, partition, error, high)
    times.sort()
    report(f"fetch of {len(some)} partitions, p99.9", quantile(times, 0.999) * 1000, "ms")


def plain(folder: pathlib.Path, some: list[tuple[str, int]]) -> None:
    """The same writes by a C program."""
    program = folder / "many_files"
    subprocess.run(["cc", "-O2", "-o", program, root / "Benchmarks" / "many_files.c"], check=True)
    size = len(wire.batch([b"x" * RECORD]))
    files = folder / "plain"
    words = ["prlimit", f"--nofile={FILES}:{FILES}", "--"]
    words += [str(program), str(files), str(len(some)), str(ROUNDS), str(size), str(FILES // 2)]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    values = json.loads(out)
    report("C program, the same writes, p50", values["p50_ms"], "ms")
    report("C program, the same writes, p99.9", values["p999_ms"], "ms")
    report("C program, slowest", values["max_ms"], "ms")
    shutil.rmtree(files)


def restart(broker: Broker, how: str, name: str) -> None:
    began = time.monotonic()
    if how == "stop":
        broker.stop(timeout=300)
        report(f"{name}: shutdown", time.monotonic() - began, "s")
    else:
        broker.kill()
    answered = broker.start(timeout=300)
    report(f"{name}: first answer", answered * 1000, "ms")
    report(f"{name}: resident", broker.resident_mb(), "MB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ottla-many-", dir=options.folder))
    count = TOPICS * PER_TOPIC
    broker = Broker(folder)
    broker.prefix = ["prlimit", f"--nofile={FILES}:{FILES}", "--"]
    try:
        broker.start()
        before = settled_mb(broker)
        report("resident, no topic", before, "MB")
        create(broker)
        after = settled_mb(broker)
        report(f"resident, {count} partitions", after, "MB")
        report("memory of an idle partition", (after - before) * 1024 / count, "kB")
        used = cpu_s(broker)
        time.sleep(IDLE_S)
        report("idle", (cpu_s(broker) - used) / IDLE_S * 100, "% of a core")
        restart(broker, "kill", "kill -9 after creation")
        restart(broker, "stop", "clean, all empty")
        report("memory of an idle partition after a start", (settled_mb(broker) - before) * 1024 / count, "kB")
        some = targets()
        write(broker, some, 0)
        read(broker, some, ROUNDS)
        report("descriptors", broker.descriptors(), "")
        restart(broker, "kill", "kill -9 after the writes")
        read(broker, some, ROUNDS)
        restart(broker, "stop", "clean, written")
        read(broker, some, ROUNDS)
        write(broker, some, ROUNDS)
        restart(broker, "kill", "kill -9 again")
        read(broker, some, 2 * ROUNDS)
        log = broker.log()
        assert "Too many open files" not in log, log[-2000:]
        broker.stop(timeout=300)
        plain(folder, some)
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
