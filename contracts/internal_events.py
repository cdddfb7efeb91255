"""Outcomes that come back into the log as events: what a definition may name as a cause.

Guarantee: as for ``contracts.events``, ``InternalEvent`` decodes every record ever written. A chain
of causes has at most ``CHAIN_DEPTH_MAX`` links, so that no two rules set each other off for ever.
"""

import msgspec

CHAIN_DEPTH_MAX = 8
"""Links of a chain of outcomes: deep enough for any rule that people could follow."""

INTERNAL_KINDS = frozenset(
    {
        "customer.created",
        "customer.updated",
        "customer.segment.entered",
        "customer.segment.left",
        "customer.loyalty.points_earned",
        "customer.loyalty.points_pending",
        "customer.loyalty.points_activated",
        "customer.loyalty.points_reversed",
        "customer.loyalty.points_expired",
        "customer.loyalty.points_spent",
        "customer.loyalty.points_adjusted",
        "customer.loyalty.tier.joined",
        "customer.loyalty.tier.upgraded",
        "customer.loyalty.tier.downgraded",
        "customer.loyalty.tier.left",
        "customer.badge.granted",
        "customer.referral.attributed",
        "customer.referral.converted",
        "customer.referral.refused",
        "customer.referral.reversed",
        "customer.voucher.published",
        "customer.voucher.validated",
        "customer.voucher.redeemed",
        "customer.voucher.redemption_failed",
        "customer.voucher.rolled_back",
        "customer.delivery.succeeded",
        "customer.delivery.exhausted",
    }
)
"""Record types of outcomes on ``customer.events``, which are their kinds too."""


class InternalEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An outcome; ``outcome`` is what its kind says of it.

    ``is_present`` where it states what stood already when a definition first named the kind: it
    says what is true, and sets nothing off.
    """

    outcome: msgspec.Raw
    is_present: bool = False
