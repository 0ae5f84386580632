"""1,000 idle and 50 busy connections, and bad input all the time: memory level, no descriptor left over, the busy
ones undisturbed. Twenty seconds by default; ten minutes with OTTLA_SOAK_SECONDS=600.
"""

import contextlib
import os
import random
import struct
import threading
import time

import pytest

from support import wire

SECONDS = float(os.environ.get("OTTLA_SOAK_SECONDS", 20))
IDLE, BUSY = 1000, 50


def worker(broker, number, stop, delays, failures):
    try:
        with wire.Connection(broker.port, timeout=20) as connection:
            batch = wire.batch([b"x" * 100] * 10)
            offset = 1
            while not stop.is_set():
                began = time.monotonic()
                assert connection.produce("soak", number, batch) == (0, offset)
                error, _, records = connection.fetch("soak", number, offset, max_wait=100)
                assert error == 0 and len(records) == len(batch)
                offset += 10
                delays.append(time.monotonic() - began)
                time.sleep(0.05)
    except Exception as problem:  # noqa: BLE001
        failures.append(f"{number}: {problem!r}")


def attacker(broker, stop, counts):
    seeded = random.Random(9)
    while not stop.is_set():
        kind = seeded.randrange(6)
        with contextlib.suppress(OSError):
            connection = wire.Connection(broker.port, timeout=1)
            if kind == 0:
                connection.send(seeded.randbytes(seeded.randrange(1, 2000)))
            elif kind == 1:
                connection.send(wire.framed(seeded.randbytes(seeded.randrange(1, 2000))))
            elif kind == 2:
                connection.send(struct.pack(">i", 100_000_000) + seeded.randbytes(1000))
                counts["held"].append(connection)
                if len(counts["held"]) > 50:
                    counts["held"].pop(0).close()
                continue
            elif kind == 3:
                connection.send(wire.framed(wire.header(seeded.randrange(100), seeded.randrange(20)) + seeded.randbytes(60)))
            elif kind == 4:
                request = wire.framed(wire.produce_request("soak", 0, wire.batch([b"x"], crc=7)))
                connection.send(request[: seeded.randrange(1, len(request))])
            else:
                connection.reset()
                continue
            counts["sent"] += 1
            connection.close()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_soak(make_broker, record_property):
    # Kafka's default would close the idle ones after just ten minutes.
    broker = make_broker({"connections.max.idle.ms": "3600000"})
    broker.start()
    with wire.Connection(broker.port) as connection:
        assert connection.create_topic("soak", BUSY) == 0
        for partition in range(BUSY):  # so that every file is open
            assert connection.produce("soak", partition, wire.batch([b"first"])) == (0, 0)
    descriptors_before = broker.descriptors()
    idle = []
    for _ in range(IDLE):
        connection = wire.Connection(broker.port)
        connection.api_versions()
        idle.append(connection)

    stop, delays, failures = threading.Event(), [], []
    counts = {"sent": 0, "held": []}
    threads = [threading.Thread(target=worker, args=(broker, i, stop, delays, failures)) for i in range(BUSY)]
    threads.append(threading.Thread(target=attacker, args=(broker, stop, counts)))
    for one in threads:
        one.start()

    samples, began = [], time.monotonic()
    while time.monotonic() - began < SECONDS:
        time.sleep(min(1.0, SECONDS / 20))
        samples.append(broker.resident_mb())
        broker.check()
    stop.set()
    for one in threads:
        one.join(30)
    cpu = broker.cpu_seconds()
    for one in idle[::10]:
        assert one.api_versions(), "an idle connection was closed"
    for one in idle + counts["held"]:
        one.close()
    end = time.monotonic() + 35  # a frame without progress ends its connection after 30 s at the latest
    while broker.descriptors() > descriptors_before + 2 and time.monotonic() < end:
        time.sleep(0.1)

    delays.sort()
    quarter = samples[len(samples) // 4 :]
    print(
        f"{SECONDS:.0f} s, {len(delays)} round trips, p50 {delays[len(delays) // 2] * 1000:.1f} ms, "
        f"p99 {delays[len(delays) * 99 // 100] * 1000:.1f} ms, worst {delays[-1] * 1000:.0f} ms; "
        f"{counts['sent']} bad inputs; {cpu:.0f} s of CPU; "
        f"resident {quarter[0]:.0f} → {quarter[-1]:.0f} MB (most {max(samples):.0f}); descriptors {descriptors_before} → {broker.descriptors()}"
    )
    record_property("resident_mb", f"{quarter[-1]:.0f}")
    assert failures == []
    assert len(delays) > BUSY * SECONDS
    assert delays[len(delays) * 99 // 100] < 1.0
    assert quarter[-1] - quarter[0] < 15 + SECONDS / 60, "memory grows"
    assert broker.descriptors() <= descriptors_before + 2, "descriptors are left over"
    broker.stop()
