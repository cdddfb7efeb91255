"""Which partition a customer lives in: murmur2 exactly as in Kafka's Java client.

Guarantee: any Kafka client with the default partitioner finds the same partition for a key.
"""

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF
_WORD_BYTES = 4


def murmur2(key: bytes) -> int:
    """Hash of a key as Kafka's ``Utils.murmur2``, as an unsigned 32-bit integer."""
    length = len(key)
    digest = (_SEED ^ length) & _MASK
    whole = length - length % _WORD_BYTES
    for start in range(0, whole, _WORD_BYTES):
        word = int.from_bytes(key[start : start + _WORD_BYTES], "little") * _MULTIPLIER & _MASK
        word = (word ^ (word >> 24)) * _MULTIPLIER & _MASK
        digest = (digest * _MULTIPLIER & _MASK) ^ word
    rest = key[whole:]
    if rest:
        digest = (digest ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    digest = (digest ^ (digest >> 13)) * _MULTIPLIER & _MASK
    return digest ^ (digest >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key among ``partitions``, as the Java client's default partitioner."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
