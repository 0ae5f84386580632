"""A program that reads, works and writes counts each record once, whoever is killed when."""

import os
import subprocess
import sys
import time

from confluent_kafka import Producer

from support import wire
from test_transactions import BROKER_OVERRIDES, read

# How long the copy between topics is disturbed, seconds.
COPY_SECONDS = float(os.environ.get("OTTLA_EXACTLY_ONCE_SECONDS", "12"))

COPY = '''
import sys
from confluent_kafka import Consumer, KafkaException, Producer
address, group = sys.argv[1:3]
common = {"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200}
while True:
    consumer = Consumer({**common, "group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "session.timeout.ms": 6000})
    consumer.subscribe(["from"])
    producer = Producer({**common, "transactional.id": "copy", "linger.ms": 0, "transaction.timeout.ms": 10000})
    try:
        producer.init_transactions(60)
        while True:
            messages = [m for m in consumer.consume(20, 0.2) if not m.error()]
            if not messages:
                continue
            producer.begin_transaction()
            for message in messages:
                producer.produce("to", message.value(), partition=message.partition())
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
            producer.commit_transaction(60)
            print(len(messages), flush=True)
    except KafkaException as error:
        print("again:", error, flush=True)
        consumer.close()
        del producer
'''


def test_exactly_once_copy(make_broker, tmp_path):
    """Records are copied from one topic to another while broker and copier are killed: each is there once, in order."""
    broker = make_broker(BROKER_OVERRIDES)
    broker.start()
    with wire.Connection(broker.port) as connection:
        connection.create_topic("from", 3)
        connection.create_topic("to", 3)
    script = tmp_path / "copy.py"
    script.write_text(COPY)
    log = open(tmp_path / "copy.log", "ab")

    def copier():
        return subprocess.Popen([sys.executable, str(script), broker.address, "copiers"], stdout=log, stderr=log)

    source = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "log_level": 0,
                       "message.timeout.ms": 120000, "reconnect.backoff.max.ms": 200})
    copy = copier()
    sent = [0, 0, 0]
    began = time.monotonic()
    victim = 0
    next_kill = 2.0
    try:
        while time.monotonic() - began < COPY_SECONDS:
            for partition in range(3):
                source.produce("from", f"{partition}-{sent[partition]}".encode(), partition=partition)
                sent[partition] += 1
            source.poll(0)
            time.sleep(0.01)
            if time.monotonic() - began > next_kill:
                next_kill += 2.5
                victim += 1
                if victim % 2:
                    broker.kill()
                    broker.start()
                else:
                    copy.kill()
                    copy.wait()
                    copy = copier()
        assert source.flush(60) == 0
        deadline = time.monotonic() + 60
        while True:
            seen = read(broker, "to", 3, timeout=60)
            if all(len(seen[partition]) >= sent[partition] for partition in range(3)):
                break
            assert time.monotonic() < deadline, (
                f"{[len(v) for v in seen.values()]} of {sent} are copied: {(tmp_path / 'copy.log').read_text()[-2000:]}")
            time.sleep(0.5)
    finally:
        copy.kill()
        copy.wait()
    for partition in range(3):
        assert seen[partition] == [f"{partition}-{number}".encode() for number in range(sent[partition])]
    print(f"{sum(sent)} records, {victim} kills")
