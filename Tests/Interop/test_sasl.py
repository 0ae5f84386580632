"""There is no listener with authentication; who tries to log in is told so, and is not left trying."""

import time

from confluent_kafka import KafkaError, Producer


def test_sasl_is_refused_at_once(broker):
    errors = []
    producer = Producer(
        {
            "bootstrap.servers": broker.address,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "user",
            "sasl.password": "secret",
            "error_cb": errors.append,
        }
    )
    end = time.monotonic() + 15
    while not errors and time.monotonic() < end:
        producer.poll(0.1)
    assert errors and errors[0].code() == KafkaError._AUTHENTICATION, errors
    assert "SASL" in str(errors[0])
