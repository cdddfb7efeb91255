"""Customer ids as the text forms of rows have them, for queries of one or of few.

``projections.kernel.binary`` spells those of sets.
"""

from contracts.identifiers import CustomerId

_CUSTOMER_PREFIX = "cust_"


def customer_uuid(customer: str) -> str:
    """Return the hexadecimal digits of a customer id, as Postgres reads a uuid."""
    return customer.removeprefix(_CUSTOMER_PREFIX)


def customer_id(digits: str) -> CustomerId:
    """Return the public customer id of a uuid's hexadecimal digits (hyphens allowed)."""
    return CustomerId(_CUSTOMER_PREFIX + digits.replace("-", ""))
