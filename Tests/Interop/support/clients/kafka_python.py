"""kafka-python."""

from __future__ import annotations

import time

import kafka.errors
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from .base import ClientError, Record, letters
from .python import PythonClient


class KafkaPython(PythonClient):
    name = "kafka-python"

    def __init__(self, address):
        super().__init__(address)
        self._admin = None

    def close(self):
        if self._admin is not None:
            self._admin.close()

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None):
        settings = self._producer_settings(codec, acks, idempotent, config)
        producer = KafkaProducer(bootstrap_servers=self.address, **settings)
        try:
            sent = [producer.send(topic, **self._sent(one)) for one in records]
            producer.flush(timeout=60)
            return [-1 if str(acks) == "0" else one.get(timeout=60).offset for one in sent]
        except kafka.errors.KafkaError as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error
        finally:
            producer.close(timeout=5)

    def _consumer(self, config=None, **more):
        return KafkaConsumer(
            bootstrap_servers=self.address, **{"enable_auto_commit": False, **more, **(config or {})}
        )

    def _collect(self, consumer, count, timeout) -> list[Record]:
        found, end = [], time.monotonic() + timeout
        while len(found) < count and time.monotonic() < end:
            for records in consumer.poll(timeout_ms=200, max_records=count - len(found)).values():
                found += [self._record(one) for one in records]
        return found

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None):
        consumer = self._consumer(config)
        where = TopicPartition(topic, partition)
        try:
            consumer.assign([where])
            if start == "earliest":
                consumer.seek_to_beginning(where)
            elif start == "latest":
                consumer.seek_to_end(where)
            else:
                consumer.seek(where, start)
            return self._collect(consumer, count, timeout)
        except kafka.errors.KafkaError as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error
        finally:
            consumer.close()

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None):
        consumer = self._consumer(config, group_id=group, auto_offset_reset="earliest")
        try:
            consumer.subscribe([topic])
            found = self._collect(consumer, count, timeout)
            consumer.commit()
            return found
        finally:
            consumer.close()

    def _with_consumer(self, work, **config):
        consumer = self._consumer(config)
        try:
            return work(consumer)
        except kafka.errors.KafkaError as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error
        finally:
            consumer.close()

    def offsets(self, topic, partition=0):
        where = TopicPartition(topic, partition)
        return self._with_consumer(
            lambda one: (one.beginning_offsets([where])[where], one.end_offsets([where])[where])
        )

    def offset_for_time(self, topic, timestamp, partition=0):
        where = TopicPartition(topic, partition)
        found = self._with_consumer(lambda one: one.offsets_for_times({where: timestamp}))[where]
        return None if found is None else found.offset

    def transaction(self, topic):
        producer = KafkaProducer(bootstrap_servers=self.address, transactional_id="a transaction")
        try:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send(topic, b"in a transaction").get(60)
            producer.commit_transaction()
        except kafka.errors.KafkaError as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error
        finally:
            producer.close(timeout=1)

    # ------------------------------------------------------------------------------- admin

    def _ask(self, name, *arguments, **named):
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.address)
        try:
            return getattr(self._admin, name)(*arguments, **named)
        except kafka.errors.KafkaError as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error

    def create_topic(self, topic, partitions=1, configs=None):
        new = {"num_partitions": partitions, "replication_factor": 1, "configs": configs or {}}
        self._ask("create_topics", {topic: new})

    def delete_records(self, topic, offset, partition=0):
        where = TopicPartition(topic, partition)
        return self._ask("delete_records", {where: offset})[where]["low_watermark"]

    def delete_topic(self, topic):
        self._ask("delete_topics", [topic])

    def topics(self):
        return set(self._ask("list_topics"))

    def partitions(self, topic):
        return len(self._ask("describe_topics", [topic])[0]["partitions"])

    def add_partitions(self, topic, total):
        self._ask("create_partitions", {topic: total})

    def topic_configs(self, topic):
        found = self._ask(
            "describe_configs", [ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all"
        )
        return {name: entry["value"] for name, entry in found["topic"][topic].items()}

    def set_topic_configs(self, topic, configs):
        changes = {name: (AlterConfigOp.SET, value) for name, value in configs.items()}
        result = self._ask(
            "alter_configs", [ConfigResource(ConfigResourceType.TOPIC, topic, changes)], raise_on_unknown=False
        )
        outcome = result["topic"][topic]
        if "NoError" not in str(outcome) and outcome not in (None, 0, "OK"):
            raise ClientError(str(outcome))

    def groups(self):
        return {one["group_id"] for one in self._ask("list_groups")}

    def group(self, group):
        found = self._ask("describe_groups", [group])[group]
        return letters(found["group_state"]), len(found["members"])

    def delete_group(self, group):
        outcome = str(self._ask("delete_groups", [group])[group])
        if "NoError" not in outcome and outcome != "OK":
            raise ClientError(outcome)

    def delete_offsets(self, group, topic, partition=0):
        where = TopicPartition(topic, partition)
        outcome = str(self._ask("delete_group_offsets", group, [where])[where])
        if "NoError" not in outcome:
            raise ClientError(outcome)

    def commit(self, group, topic, offset, partition=0):
        where = TopicPartition(topic, partition)

        def work(consumer):
            consumer.assign([where])
            consumer.commit({where: OffsetAndMetadata(offset, "", -1)})

        self._with_consumer(work, group_id=group)

    def committed(self, group, topic, partition=0):
        found = self._ask("list_group_offsets", group)[group].get(TopicPartition(topic, partition))
        return None if found is None or found.offset < 0 else found.offset
