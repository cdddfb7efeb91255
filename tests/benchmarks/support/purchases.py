"""The input of the sums: purchases of 200 bytes, keyed by customer, the same in every run."""

from collections.abc import Iterator

from tests.benchmarks.support.kafka import KeyedRecord

VALUE_BYTES = 200
CUSTOMERS = 10_000
STRIDE = 7_919  # prime to CUSTOMERS: neighbours in the log are different customers
AMOUNT_MAX = 100


def purchases(count: int, *, customers: int = CUSTOMERS) -> Iterator[KeyedRecord]:
    """JSON purchases of VALUE_BYTES with a whole ``amount``, spread evenly over the customers."""
    for number in range(count):
        key = b"cust_%012d" % (number * STRIDE % customers)
        value = b'{"id":"event_%016x","customer":"%b","amount":%d,"note":"' % (
            number,
            key,
            amount_of(number),
        )
        yield key, value + b"." * (VALUE_BYTES - len(value) - 2) + b'"}'


def total(count: int) -> int:
    """What the amounts of the first ``count`` purchases sum to."""
    return sum(map(amount_of, range(count)))


def amount_of(number: int) -> int:
    return number % AMOUNT_MAX + 1
