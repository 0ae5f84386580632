"""confluent-kafka: librdkafka."""

from __future__ import annotations

import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from .base import Client, ClientError, Record, letters


class Confluent(Client):
    name = "confluent-kafka"

    def __init__(self, address):
        super().__init__(address)
        self._admin = None

    def _config(self, config=None, **more):
        # librdkafka's own log lines would only be in the way; what it means to say comes back as errors.
        return {"bootstrap.servers": self.address, "log_level": 2, **more, **(config or {})}

    # -------------------------------------------------------------------------------- data

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None):
        settings = {"compression.type": codec, "acks": acks, "linger.ms": 5}
        if idempotent:
            settings["enable.idempotence"] = True
        producer = Producer(self._config(config, **settings))
        results = [None] * len(records)

        def delivered(index):
            def note(error, message):
                results[index] = ClientError(str(error)) if error else message.offset()

            return note

        for index, one in enumerate(records):
            while True:
                try:
                    producer.produce(
                        topic,
                        value=one.value,
                        key=one.key,
                        partition=one.partition,
                        headers=one.headers or None,
                        timestamp=one.timestamp or 0,
                        on_delivery=delivered(index),
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(60)
        if left:
            raise ClientError(f"{left} records were not delivered in time")
        for one in results:
            if isinstance(one, ClientError):
                raise one
        return [-1 if acks in (0, "0") else one for one in results]

    @staticmethod
    def _record(message) -> Record:
        kind, timestamp = message.timestamp()
        return Record(
            value=message.value(),
            key=message.key(),
            headers=[(k, v) for k, v in message.headers() or []],
            timestamp=timestamp,
            timestamp_type={
                confluent_kafka.TIMESTAMP_CREATE_TIME: "create",
                confluent_kafka.TIMESTAMP_LOG_APPEND_TIME: "append",
            }.get(kind, "none"),
            partition=message.partition(),
            offset=message.offset(),
        )

    def _collect(self, consumer, count, timeout) -> list[Record]:
        found, end = [], time.monotonic() + timeout
        while len(found) < count and time.monotonic() < end:
            for message in consumer.consume(count - len(found), 0.2):
                if message.error():
                    raise ClientError(str(message.error()))
                found.append(self._record(message))
        return found

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None):
        consumer = Consumer(self._config(config, **{"group.id": "unused", "enable.auto.commit": False}))
        position = {
            "earliest": confluent_kafka.OFFSET_BEGINNING,
            "latest": confluent_kafka.OFFSET_END,
        }.get(start, start)
        try:
            consumer.assign([TopicPartition(topic, partition, position)])
            return self._collect(consumer, count, timeout)
        finally:
            consumer.close()

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None):
        settings = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        consumer = Consumer(self._config(config, **settings))
        try:
            consumer.subscribe([topic])
            found = self._collect(consumer, count, timeout)
            if found:
                consumer.commit(asynchronous=False)
            return found
        except KafkaException as error:
            raise ClientError(str(error)) from error
        finally:
            consumer.close()

    def _with_consumer(self, work, group="unused"):
        consumer = Consumer(self._config(**{"group.id": group, "enable.auto.commit": False}))
        try:
            return work(consumer)
        except KafkaException as error:
            raise ClientError(str(error)) from error
        finally:
            consumer.close()

    def offsets(self, topic, partition=0):
        return self._with_consumer(
            lambda one: one.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        )

    def offset_for_time(self, topic, timestamp, partition=0):
        asked = [TopicPartition(topic, partition, timestamp)]
        found = self._with_consumer(lambda one: one.offsets_for_times(asked, timeout=10))[0]
        return None if found.offset < 0 else found.offset

    def transaction(self, topic):
        producer = Producer(self._config(**{"transactional.id": "a transaction"}))
        try:
            producer.init_transactions(60)
            producer.begin_transaction()
            producer.produce(topic, b"in a transaction")
            producer.commit_transaction(60)
        except KafkaException as error:
            raise ClientError(str(error)) from error

    def share(self, topic, group, timeout):
        """Polls as a share consumer."""
        consumer = confluent_kafka.ShareConsumer(self._config(**{"group.id": group}))
        end = time.monotonic() + timeout
        try:
            consumer.subscribe([topic])
            while time.monotonic() < end:
                for message in consumer.poll(0.5) or []:
                    if message.error():
                        raise ClientError(str(message.error()))
        except KafkaException as error:
            raise ClientError(str(error)) from error
        finally:
            consumer.close()

    # ------------------------------------------------------------------------------- admin

    @property
    def admin(self):
        if self._admin is None:
            self._admin = AdminClient(self._config())
        return self._admin

    @staticmethod
    def _result(futures):
        try:
            return [one.result(30) for one in futures.values()][0]
        except KafkaException as error:
            raise ClientError(str(error)) from error

    def create_topic(self, topic, partitions=1, configs=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=configs or {})
        self._result(self.admin.create_topics([new]))

    def delete_records(self, topic, offset, partition=0):
        asked = [TopicPartition(topic, partition, confluent_kafka.OFFSET_END if offset == -1 else offset)]
        return self._result(self.admin.delete_records(asked)).low_watermark

    def delete_topic(self, topic):
        self._result(self.admin.delete_topics([topic]))

    def topics(self):
        return set(self.admin.list_topics(timeout=10).topics)

    def partitions(self, topic):
        return len(self._result(self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))).partitions)

    def add_partitions(self, topic, total):
        self._result(self.admin.create_partitions([NewPartitions(topic, total)]))

    def topic_configs(self, topic):
        found = self._result(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return {name: entry.value for name, entry in found.items()}

    def set_topic_configs(self, topic, configs):
        changes = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
        self._result(self.admin.incremental_alter_configs([resource]))

    def groups(self):
        return {one.group_id for one in self.admin.list_consumer_groups(request_timeout=10).result(30).valid}

    def group(self, group):
        found = self._result(self.admin.describe_consumer_groups([group], request_timeout=10))
        return letters(found.state.name), len(found.members)

    def delete_group(self, group):
        self._result(self.admin.delete_consumer_groups([group], request_timeout=10))

    def commit(self, group, topic, offset, partition=0):
        position = [TopicPartition(topic, partition, offset)]
        self._with_consumer(lambda one: one.commit(offsets=position, asynchronous=False), group)

    def committed(self, group, topic, partition=0):
        found = self._result(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        for one in found.topic_partitions:
            if (one.topic, one.partition) == (topic, partition) and one.offset >= 0:
                return one.offset
        return None

    def member_command(self, group, topic, **config):
        words = [f"{key}={value}" for key, value in config.items()]
        return [sys.executable, "-m", "support.member", self.name, self.address, group, topic, *words]
