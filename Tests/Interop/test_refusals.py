"""What is not there yet is refused clearly and at once; no client is left retrying."""

import time

import pytest

from support import wire
from support.clients import ClientError, Record

# Nobody should have to wait for a client's own time-out (60 s with most) to learn it.
AT_ONCE = 15


def refused(call) -> tuple[str, float]:
    began = time.monotonic()
    with pytest.raises(ClientError) as caught:
        call()
    took = time.monotonic() - began
    text = str(caught.value)
    print(f"refused after {took:.2f} s: {text}")
    assert took < AT_ONCE, f"it took {took:.1f} s until {text}"
    return text, took


def test_transactional_batches(broker, topic):
    """Records of a transaction in a request that does not say of which."""
    with wire.Connection(broker.port) as connection:
        connection.create_topic(topic)
        _, producer, epoch = connection.init_producer_id()
        batch = wire.batch([b"x"], attributes=16, producer=producer, epoch=epoch, sequence=0)
        assert connection.produce(topic, 0, batch)[0] != 0
        assert connection.end_offset(topic, 0) == 0


def test_other_coordinators(broker):
    """FindCoordinator for a share group: an error that no client retries."""
    retriable = {5, 6, 7, 8, 9, 13, 14, 15, 16}
    with wire.Connection(broker.port) as connection:
        for kind in (2,):
            body = wire.text("key") + bytes([kind])
            answer = connection.ask(wire.header(10, 1) + body)
            error = int.from_bytes(answer[8:10], "big", signed=True)
            assert error != 0 and error not in retriable, f"type {kind}: error {error}"


@pytest.mark.parametrize("client", ["java", "confluent-kafka"])
def test_share_consumers(clients, topic, client):
    one = clients(client)
    one.produce(topic, [Record(value=b"x")])
    text, _ = refused(lambda: one.share(topic, f"{topic}-group", timeout=60))
    assert "timed out" not in text.lower(), text
