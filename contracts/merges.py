"""Two customers that turn out to be one person, as records of ``customer.events``.

Guarantee: a merge is one record told twice. At the merged customer's partition, ``closed_at`` null,
it closes that customer; at the survivor's, ``closed_at`` the position of the first, it takes over
what the closed one had. The pair told again changes nothing.
"""

import msgspec

CUSTOMER_MERGED = "customer.merged"


class CustomerMerged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``merged`` is closed and ``survivor`` goes on, both customer ids.

    ``closed_at`` is the position of the record that closed ``merged``; None: this is that record.
    """

    merged: str
    survivor: str
    closed_at: str | None = None
