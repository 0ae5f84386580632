"""aiokafka."""

from __future__ import annotations

import asyncio
import contextlib
import time

import aiokafka.errors
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from .base import ClientError, letters
from .python import PythonClient


def _run(work, limit=90):
    async def bounded():
        return await asyncio.wait_for(work, limit)

    try:
        return asyncio.run(bounded())
    except aiokafka.errors.KafkaError as error:
        raise ClientError(f"{type(error).__name__}: {error}") from error


def _checked(code, message=""):
    if code:
        raise aiokafka.errors.for_code(code)(message or "")


class Aiokafka(PythonClient):
    name = "aiokafka"

    @contextlib.asynccontextmanager
    async def _producer(self, **config):
        producer = AIOKafkaProducer(bootstrap_servers=self.address, **config)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    @contextlib.asynccontextmanager
    async def _consumer(self, **config):
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address, **{"enable_auto_commit": False, **config})
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None):
        settings = self._producer_settings(codec, acks, idempotent, config)

        async def work():
            async with self._producer(**settings) as producer:
                sent = [await producer.send(topic, **self._sent(one)) for one in records]
                done = [await one for one in sent]
                return [-1 if str(acks) == "0" else one.offset for one in done]

        return _run(work())

    async def _collect(self, consumer, count, timeout):
        found, end = [], time.monotonic() + timeout
        while len(found) < count and time.monotonic() < end:
            for records in (await consumer.getmany(timeout_ms=200, max_records=count - len(found))).values():
                found += [self._record(one) for one in records]
        return found

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None):
        where = TopicPartition(topic, partition)

        async def work():
            async with self._consumer(**(config or {})) as consumer:
                consumer.assign([where])
                if start == "earliest":
                    await consumer.seek_to_beginning(where)
                elif start == "latest":
                    await consumer.seek_to_end(where)
                else:
                    consumer.seek(where, start)
                return await self._collect(consumer, count, timeout)

        return _run(work())

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None):
        async def work():
            settings = {"group_id": group, "auto_offset_reset": "earliest", **(config or {})}
            async with self._consumer(**settings) as consumer:
                consumer.subscribe([topic])
                found = await self._collect(consumer, count, timeout)
                await consumer.commit()
                return found

        return _run(work())

    def offsets(self, topic, partition=0):
        where = TopicPartition(topic, partition)

        async def work():
            async with self._consumer() as consumer:
                first = await consumer.beginning_offsets([where])
                return first[where], (await consumer.end_offsets([where]))[where]

        return _run(work())

    def offset_for_time(self, topic, timestamp, partition=0):
        where = TopicPartition(topic, partition)

        async def work():
            async with self._consumer() as consumer:
                return (await consumer.offsets_for_times({where: timestamp}))[where]

        found = _run(work())
        return None if found is None else found.offset

    def transaction(self, topic):
        async def work():
            async with self._producer(transactional_id="a transaction") as producer, producer.transaction():
                await producer.send_and_wait(topic, b"in a transaction")

        _run(work())

    # ------------------------------------------------------------------------------- admin

    def _ask(self, work):
        async def asked():
            admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
            await admin.start()
            try:
                return await work(admin)
            finally:
                await admin.close()

        return _run(asked())

    def create_topic(self, topic, partitions=1, configs=None):
        async def work(admin):
            answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs or {})])
            for one in answer.topic_errors:
                _checked(*one[1:3])

        self._ask(work)

    def delete_records(self, topic, offset, partition=0):
        where = TopicPartition(topic, partition)

        async def work(admin):
            try:
                return (await admin.delete_records({where: RecordsToDelete(offset)}))[where]
            except aiokafka.errors.KafkaError as error:
                raise ClientError(f"{type(error).__name__}: {error}") from error

        return self._ask(work)

    def delete_topic(self, topic):
        async def work(admin):
            for one in (await admin.delete_topics([topic])).topic_error_codes:
                _checked(one[1])

        self._ask(work)

    def topics(self):
        return set(self._ask(lambda admin: admin.list_topics()))

    def partitions(self, topic):
        return len(self._ask(lambda admin: admin.describe_topics([topic]))[0]["partitions"])

    def add_partitions(self, topic, total):
        self._ask(lambda admin: admin.create_partitions({topic: NewPartitions(total)}))

    def topic_configs(self, topic):
        answers = self._ask(
            lambda admin: admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        )
        (resource,) = answers[0].resources
        _checked(*resource[0:2])
        return {entry[0]: entry[1] for entry in resource[4]}

    def set_topic_configs(self, topic, configs):
        """AlterConfigs, the older API: what is not given goes back to its default."""

        async def work(admin):
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)
            for answer in await admin.alter_configs([resource]):
                for one in answer.resources:
                    _checked(*one[0:2])

        self._ask(work)

    def groups(self):
        return {one[0] for one in self._ask(lambda admin: admin.list_consumer_groups())}

    def group(self, group):
        (found,) = self._ask(lambda admin: admin.describe_consumer_groups([group]))[0].groups
        _checked(found[0])
        return letters(found[2]), len(found[5])

    def commit(self, group, topic, offset, partition=0):
        async def work():
            async with self._consumer(group_id=group) as consumer:
                where = TopicPartition(topic, partition)
                consumer.assign([where])
                await consumer.commit({where: offset})

        _run(work())

    def committed(self, group, topic, partition=0):
        found = self._ask(lambda admin: admin.list_consumer_group_offsets(group))
        one = found.get(TopicPartition(topic, partition))
        return None if one is None or one.offset < 0 else one.offset
