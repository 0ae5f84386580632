"""What the tests ask of every client, in the same words."""

from __future__ import annotations

import dataclasses


class ClientError(Exception):
    """What a client said when it gave up."""


@dataclasses.dataclass
class Record:
    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] = dataclasses.field(default_factory=list)
    timestamp: int | None = None
    partition: int = 0
    offset: int = -1
    timestamp_type: str = "create"

    def content(self) -> tuple:
        return self.key, self.value, self.headers


class Client:
    """One client library, against one broker. Every call makes a client of its own unless said otherwise.

    `config` is passed on to the library, with the library's own names.
    """

    name = ""

    def __init__(self, address: str):
        self.address = address

    def close(self) -> None:
        pass

    # Data

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None) -> list[int]:
        """Sends them in order and returns their offsets (-1 each where acks is 0)."""
        raise NotImplementedError

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None) -> list[Record]:
        """Up to `count` records by assignment; `start` is `earliest`, `latest` or an offset."""
        raise NotImplementedError

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None) -> list[Record]:
        """Up to `count` records as a member of a group, from where it stands or the earliest; commits them."""
        raise NotImplementedError

    def offsets(self, topic, partition=0) -> tuple[int, int]:
        """The earliest and the latest offset."""
        raise NotImplementedError

    def offset_for_time(self, topic, timestamp, partition=0) -> int | None:
        """The first offset whose timestamp is that or later."""
        raise NotImplementedError

    def transaction(self, topic) -> None:
        """Tries to write a record in a transaction."""
        raise NotImplementedError

    # Admin

    def delete_records(self, topic, offset, partition=0) -> int:
        """Deletes what is before the offset, or all for -1; the offset at which the partition begins then."""
        raise NotImplementedError

    def create_topic(self, topic, partitions=1, configs=None) -> None:
        raise NotImplementedError

    def delete_topic(self, topic) -> None:
        raise NotImplementedError

    def topics(self) -> set[str]:
        raise NotImplementedError

    def partitions(self, topic) -> int:
        raise NotImplementedError

    def add_partitions(self, topic, total) -> None:
        raise NotImplementedError

    def topic_configs(self, topic) -> dict[str, str]:
        raise NotImplementedError

    def set_topic_configs(self, topic, configs) -> None:
        raise NotImplementedError

    def groups(self) -> set[str]:
        raise NotImplementedError

    def group(self, group) -> tuple[str, int]:
        """Its state (as the library spells it, lower case, letters only) and how many members it has."""
        raise NotImplementedError

    def delete_group(self, group) -> None:
        raise NotImplementedError

    def delete_offsets(self, group, topic, partition=0) -> None:
        raise NotImplementedError

    def commit(self, group, topic, offset, partition=0) -> None:
        raise NotImplementedError

    def committed(self, group, topic, partition=0) -> int | None:
        raise NotImplementedError

    # A member of a group, as a process

    def member_command(self, group, topic, **config) -> list[str]:
        """The command line of a process that prints what support/member.py tells."""
        raise NotImplementedError


def letters(text: str) -> str:
    return "".join(c for c in str(text).lower() if c.isalpha())
