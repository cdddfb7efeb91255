"""Letting go of a client that did not stop in time.

Guarantee: it holds no connection open afterwards, so that nothing of it outlives its owner.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportPrivateUsage=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiokafka is untyped, and its connections have no public name; nothing of it leaves this module.

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


def let_go(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Close the connections that a client still has; one that has stopped has none."""
    network = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
    for connection in list(network._conns.values()):  # noqa: SLF001
        connection.close()
