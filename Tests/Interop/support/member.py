"""A member of a consumer group, as a process that a test may end or kill.

    python -m support.member CLIENT HOST:PORT GROUP TOPIC [name=value]...

It prints, with CLOCK_MONOTONIC in nanoseconds, which all processes share:

    assigned NS 0,1,2              what it holds now
    got NS PARTITION OFFSET VALUE  a record, before its offset is committed
    committed NS PARTITION NEXT    a commit that the broker has acknowledged
    refused NS ERROR               a commit that it refused
    end NS                         it has left, after SIGTERM
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

asked_to_end = False


def end(*_):
    global asked_to_end
    asked_to_end = True


def say(*words):
    print(words[0], time.monotonic_ns(), *words[1:], flush=True)


def say_assigned(partitions):
    say("assigned", ",".join(str(one) for one in sorted(partitions)))


def got(partition, offset, value):
    say("got", partition, offset, value.decode())


def confluent(address, group, topic, config):
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 2,
            **config,
        }
    )
    # What is told is then a change of what is held.
    cooperative = (
        config.get("partition.assignment.strategy") == "cooperative-sticky"
        or config.get("group.protocol") == "consumer"
    )

    def assigned(one, partitions):
        held = {each.partition for each in one.assignment()} if cooperative else set()
        say_assigned(held | {each.partition for each in partitions})

    def revoked(one, partitions):
        say_assigned({each.partition for each in one.assignment()} - {each.partition for each in partitions})

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
    while not asked_to_end:
        following = {}
        for message in consumer.consume(200, 0.2):
            if message.error():
                say("error", message.error())
                continue
            got(message.partition(), message.offset(), message.value())
            following[message.partition()] = message.offset() + 1
        if following:
            positions = [TopicPartition(topic, one, offset) for one, offset in following.items()]
            try:
                consumer.commit(offsets=positions, asynchronous=False)
                for one, offset in following.items():
                    say("committed", one, offset)
            except KafkaException as error:
                say("refused", error.args[0].name())
    consumer.close()


def kafka_python(address, group, topic, config):
    import kafka.errors
    from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
    from kafka.structs import OffsetAndMetadata

    numbers = {name: int(value) if value.isdigit() else value for name, value in config.items()}
    consumer = KafkaConsumer(
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **numbers,
    )

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            say_assigned(one.partition for one in consumer.assignment())

        def on_partitions_revoked(self, revoked):
            say_assigned(())

    consumer.subscribe([topic], listener=Listener())
    while not asked_to_end:
        following = {}
        for where, records in consumer.poll(timeout_ms=200).items():
            for one in records:
                got(one.partition, one.offset, one.value)
                following[where.partition] = one.offset + 1
        if following:
            positions = {
                TopicPartition(topic, one): OffsetAndMetadata(offset, "", -1) for one, offset in following.items()
            }
            try:
                consumer.commit(positions)
                for one, offset in following.items():
                    say("committed", one, offset)
            except kafka.errors.KafkaError as error:
                say("refused", type(error).__name__)
    consumer.close()


def aiokafka(address, group, topic, config):
    import aiokafka.errors
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

    numbers = {name: int(value) if value.isdigit() else value for name, value in config.items()}

    async def run():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=address,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **numbers,
        )

        class Listener(ConsumerRebalanceListener):
            async def on_partitions_assigned(self, assigned):
                say_assigned(one.partition for one in assigned)

            async def on_partitions_revoked(self, revoked):
                say_assigned(())

        consumer.subscribe([topic], listener=Listener())
        await consumer.start()
        while not asked_to_end:
            following = {}
            for where, records in (await consumer.getmany(timeout_ms=200)).items():
                for one in records:
                    got(one.partition, one.offset, one.value)
                    following[where.partition] = one.offset + 1
            if following:
                try:
                    await consumer.commit({TopicPartition(topic, one): at for one, at in following.items()})
                    for one, offset in following.items():
                        say("committed", one, offset)
                except aiokafka.errors.KafkaError as error:
                    say("refused", type(error).__name__)
        await consumer.stop()

    asyncio.run(run())


def main():
    client, address, group, topic, *words = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    config = dict(word.split("=", 1) for word in words)
    loops = {"confluent-kafka": confluent, "kafka-python": kafka_python, "aiokafka": aiokafka}
    loops[client](address, group, topic, config)
    say("end")


if __name__ == "__main__":
    main()
