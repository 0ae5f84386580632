"""What kafka-python and aiokafka, which began as a copy of it, have in common."""

from __future__ import annotations

import sys

from .base import Client, Record


class PythonClient(Client):
    @staticmethod
    def _producer_settings(codec, acks, idempotent, config) -> dict:
        return {
            "acks": {"0": 0, "1": 1}.get(str(acks), acks),
            "compression_type": None if codec == "none" else codec,
            "enable_idempotence": idempotent,
            "linger_ms": 5,
            **(config or {}),
        }

    @staticmethod
    def _sent(one: Record) -> dict:
        """What `send` takes of a record."""
        return {
            "value": one.value,
            "key": one.key,
            "headers": one.headers,
            "partition": one.partition,
            "timestamp_ms": one.timestamp,
        }

    @staticmethod
    def _record(one) -> Record:
        return Record(
            value=one.value,
            key=one.key,
            headers=list(one.headers),
            timestamp=one.timestamp,
            timestamp_type={0: "create", 1: "append"}.get(one.timestamp_type, "none"),
            partition=one.partition,
            offset=one.offset,
        )

    def member_command(self, group, topic, **config):
        words = [f"{key}={value}" for key, value in config.items()]
        return [sys.executable, "-m", "support.member", self.name, self.address, group, topic, *words]
