"""Sealing what was told late of a merged customer under its survivor's key.

Guarantee: what is passed on opens as the survivor's, or is not in it: a person whose key is gone
stays forgotten.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from contracts import codec
from contracts.events import CustomEvent, Profile, ProfileChanged
from contracts.identifiers import CustomerId, WorkspaceName
from projections.kernel.errors import InvalidRecordError
from projections.kernel.projection import Late
from services.runtime.postgres import Session
from services.runtime.sealing import KeyRing, UnsealError, seal, unseal


class _Seals:
    """Opens what was sealed for one customer and seals it for another."""

    def __init__(self, keys: dict[CustomerId, bytes], late: Late) -> None:
        self._giver = CustomerId(late.customer)
        self._taker = CustomerId(late.record.subject)
        self._opens = keys.get(self._giver)
        self._closes = keys.get(self._taker)

    def anew(self, blob: str | None) -> str | None:
        if blob is None or self._opens is None or self._closes is None:
            return None
        try:
            plain = unseal(self._opens, self._giver, blob)
        except UnsealError as error:
            raise InvalidRecordError("seal does not open", "under its own key") from error
        return seal(self._closes, self._taker, plain)

    def profile(self, told: Profile) -> Profile:
        return msgspec.structs.replace(told, sealed=self.anew(told.sealed))


async def seal_anew(session: Session, ring: KeyRing, late: Sequence[Late]) -> Sequence[msgspec.Raw]:
    """Answer the data of late records, sealed for the survivors.

    Raises:
        InvalidRecordError: a sealed part does not open under the customer's own key.
    """
    concerned: dict[str, set[CustomerId]] = defaultdict(set)
    for each in late:
        named = {CustomerId(each.customer), CustomerId(each.record.subject)}
        concerned[each.record.workspace] |= named
    keys: dict[CustomerId, bytes] = {}
    for workspace, customers in concerned.items():
        keys.update(await ring.keys(session, WorkspaceName(workspace), customers))
    return [_data(each, _Seals(keys, each)) for each in late]


def _data(late: Late, seals: _Seals) -> msgspec.Raw:
    match late.told:
        case CustomEvent() as event:
            profile = None if event.profile is None else seals.profile(event.profile)
            sealed = seals.anew(event.sealed)
            return codec.raw(msgspec.structs.replace(event, sealed=sealed, profile=profile))
        case ProfileChanged(profile=profile):
            return codec.raw(ProfileChanged(profile=seals.profile(profile)))
        case _:
            return late.record.data
