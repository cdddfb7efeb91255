"""Making the topics of ``contracts.topics`` and checking them at every start.

Guarantee: after ``ensure_topics`` every topic exists with exactly the partitions and settings of
the table, or ``TopicMismatchError`` names each difference and nothing was changed.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiokafka's admin client answers untyped protocol tuples; this module is where they end.

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, for_code
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from contracts.topics import TOPICS, Topic
from services.runtime.kafka.errors import KafkaUnavailableError, TopicMismatchError

REPLICATION_DEFAULT = -1
"""Let the broker's default decide: 1 on the embedded node, 3 in the production profile."""
METADATA_WAIT_SECONDS = 15
"""How long a fresh topic may take to show in the metadata of every broker."""
TOPIC_EXISTS = 36


class _TopicsNotVisibleError(Exception):
    """A topic just made does not show in the metadata yet."""


async def ensure_topics(
    bootstrap: str, *, prefix: str, partitions: int, topics: Sequence[Topic] = TOPICS
) -> None:
    """Make what is missing, then check partitions and settings of every topic.

    Args:
        bootstrap: ``host:port`` list of the cluster.
        prefix: put before every topic's name.
        partitions: of the topics that scale with the installation.

    Raises:
        KafkaUnavailableError: no broker answered.
        TopicMismatchError: an existing topic differs.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
    except KafkaConnectionError as error:
        raise KafkaUnavailableError(str(error)) from error
    try:
        present = set(await admin.list_topics())
        missing = [topic for topic in topics if prefix + topic.name not in present]
        if missing:
            await _create(admin, missing, prefix=prefix, partitions=partitions)
        await _check(admin, topics, prefix=prefix, partitions=partitions)
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], *, prefix: str, partitions: int
) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                prefix + topic.name,
                topic.partitions or partitions,
                REPLICATION_DEFAULT,
                replica_assignments={},
                topic_configs=topic.settings(),
            )
            for topic in topics
        ]
    )
    for name, code, *_ in answer.topic_errors:  # pyright: ignore[reportAttributeAccessIssue]
        if code not in (0, TOPIC_EXISTS):  # another process may have been quicker
            raise TopicMismatchError([f"{name}: {for_code(code).__name__}"])


@retry(
    retry=retry_if_exception_type(_TopicsNotVisibleError),
    stop=stop_after_delay(METADATA_WAIT_SECONDS),
    wait=wait_fixed(0.1),
    reraise=True,
)
async def _check(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], *, prefix: str, partitions: int
) -> None:
    names = [prefix + topic.name for topic in topics]
    described = {entry["topic"]: entry for entry in await admin.describe_topics(names)}
    found = {name: _settings(entries) for name, entries in await _configs(admin, names)}
    faults: list[str] = []
    for topic in topics:
        name = prefix + topic.name
        if described[name]["error_code"] or not described[name]["partitions"]:
            raise _TopicsNotVisibleError(name)
        expected_count, count = topic.partitions or partitions, len(described[name]["partitions"])
        if count != expected_count:
            faults.append(f"{name}: {count} partitions, expected {expected_count}")
        for key, expected in topic.settings().items():
            value = found[name].get(key)
            if value != expected:
                faults.append(f"{name}: {key} is {value}, expected {expected}")
    if faults:
        raise TopicMismatchError(faults)


async def _configs(
    admin: AIOKafkaAdminClient, names: list[str]
) -> list[tuple[str, list[tuple[str, str]]]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = await admin.describe_configs(resources)
    return [
        (name, [(entry[0], entry[1]) for entry in entries])
        for answer in answers
        for _, _, _, name, entries in answer.resources  # pyright: ignore[reportAttributeAccessIssue]
    ]


def _settings(entries: list[tuple[str, str]]) -> dict[str, str]:
    return dict(entries)
