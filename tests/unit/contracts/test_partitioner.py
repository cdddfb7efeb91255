"""The partitioner is murmur2 as in Kafka's Java client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.partitioner import murmur2, partition_of

# Kafka's own test: org.apache.kafka.common.utils.UtilsTest.testMurmur2, as signed 32-bit integers.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def test_murmur2_agrees_with_the_java_client() -> None:
    found = {key: murmur2(key) for key in JAVA_VECTORS}

    assert found == {key: value & 0xFFFFFFFF for key, value in JAVA_VECTORS.items()}


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        (b"21", (-973932308 & 0x7FFFFFFF) % 12),
        (b"foobar", (-790332482 & 0x7FFFFFFF) % 12),
        (b"abc", 479470107 % 12),
    ],
)
def test_the_sign_is_cut_off_as_the_java_client_does(key: bytes, partition: int) -> None:
    assert partition_of(key, 12) == partition


@given(st.binary(max_size=64), st.integers(1, 1024))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
