"""What aiokafka has no public name for: letting go of a client, and whether one has given up.

Guarantee: a client that was let go holds no connection open, so that nothing outlives its owner.
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


def has_given_up(client: AIOKafkaConsumer) -> bool:
    """Whether the task that keeps a client in its group has ended, as it may after an outage.

    Nobody hears of that who has no partition to read: the client looks idle for ever.
    """
    coordination = getattr(client._coordinator, "_coordination_task", None)  # noqa: SLF001
    return coordination is not None and coordination.done()
