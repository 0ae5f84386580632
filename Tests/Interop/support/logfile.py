"""Reads the segments that a broker has written, in Kafka's own format, without the broker."""

from __future__ import annotations

import dataclasses
import pathlib
import struct
from collections.abc import Iterator

import crc32c

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclasses.dataclass
class Batch:
    base_offset: int
    codec: str
    log_append_time: bool
    transactional: bool
    control: bool
    last_offset: int
    count: int
    producer_id: int
    epoch: int
    sequence: int
    max_timestamp: int
    crc_right: bool
    size: int


def batches(folder: pathlib.Path) -> Iterator[Batch]:
    """All batches of a partition's folder, in order. Stops at a torn end."""
    for segment in sorted(folder.glob("*.log")):
        data = segment.read_bytes()
        position = 0
        while position + 61 <= len(data):
            base, length = struct.unpack_from(">qi", data, position)
            size = 12 + length
            if length < 49 or position + size > len(data):
                break
            _, magic, crc = struct.unpack_from(">ibI", data, position + 12)
            attributes, last, _, newest, producer, epoch, sequence, count = struct.unpack_from(
                ">hiqqqhii", data, position + 21
            )
            assert magic == 2, f"a batch of magic {magic} at {position} in {segment}"
            yield Batch(
                base_offset=base,
                codec=CODECS[attributes & 7],
                log_append_time=bool(attributes & 8),
                transactional=bool(attributes & 16),
                control=bool(attributes & 32),
                last_offset=base + last,
                count=count,
                producer_id=producer,
                epoch=epoch,
                sequence=sequence,
                max_timestamp=newest,
                crc_right=crc32c.crc32c(data[position + 21 : position + size]) == crc,
                size=size,
            )
            position += size


def codecs(data: pathlib.Path, topic: str, partition: int = 0) -> list[str]:
    """The codec of each stored batch; asserts that checksums and offsets are right on the way."""
    found, expected = [], None
    for one in batches(data / f"{topic}-{partition}"):
        assert one.crc_right, f"the batch at offset {one.base_offset} of {topic}-{partition} is damaged"
        assert expected is None or one.base_offset == expected, f"a gap before offset {one.base_offset}"
        expected = one.last_offset + 1
        found.append(one.codec)
    return found
