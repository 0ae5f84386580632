"""The clients, by name."""

from .aio import Aiokafka
from .base import Client, ClientError, Record
from .confluent import Confluent
from .java import Java
from .kafka_python import KafkaPython
from .kcat import Kcat

CLIENTS: dict[str, type[Client]] = {one.name: one for one in (Kcat, Confluent, KafkaPython, Aiokafka, Java)}
# kcat has no admin and no commits by hand.
LIBRARIES = [name for name in CLIENTS if name != "kcat"]

__all__ = ["CLIENTS", "LIBRARIES", "Client", "ClientError", "Record"]
