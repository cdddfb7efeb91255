"""How what records say of a customer becomes the profile: one pure merge for every process.

Guarantee: merging the records of a customer in log order gives the same profile everywhere, and
merging the same record again changes nothing. Absent or null keeps a field; ``clears`` alone
empties one. Metadata merges key by key, and a null inside removes its key.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from contracts import codec
from contracts.codec import Json, JsonObject
from contracts.events import EMPTY_OBJECT, Address, Profile, SealedProfile

TEXT_FIELDS: Final = (
    "source_id",
    "email",
    "name",
    "phone",
    "description",
    "birthdate",
    "birthday",
)
"""Fields that identify a person: in the log they stand sealed."""
CLEARABLE: Final = frozenset((*TEXT_FIELDS, "address", "metadata"))
"""What ``Profile.clears`` may name."""

METADATA_BYTES_MAX: Final = 64 * 1024
"""Of a customer's metadata as JSON: twice what one record may say, so that a message which bears it
twice fits into a record. What would take it past that leaves it as it was."""

_DIGEST_BYTES: Final = 16


class ProfileState(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's profile as merged so far.

    ``metadata`` holds public and personal keys together; a process that opens no seal has the
    public ones only.
    """

    source_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    description: str | None = None
    birthdate: str | None = None
    birthday: str | None = None
    address: Address | None = None
    metadata: JsonObject = {}


class FieldChange(msgspec.Struct, frozen=True):
    """A field before and after; null where there was or is nothing."""

    old: Json
    new: Json


Changes = dict[str, FieldChange]
"""Fields that changed, by name; those of metadata as ``metadata.<key>``."""

EMPTY_PROFILE: Final = ProfileState()

_decode_sealed = codec.decoder(SealedProfile).decode


def open_profile(plain: bytes) -> SealedProfile:
    """Read the plain text of ``Profile.sealed``.

    Raises:
        msgspec.DecodeError: it is no sealed profile.
    """
    return _decode_sealed(plain)


def digest_of(profile: Profile) -> bytes:
    """Digest of all that a record says of a profile.

    Whoever has merged a record last and meets the same digest has nothing to do.
    """
    sealed = b"" if profile.sealed is None else profile.sealed.encode()
    told = b"\0".join((sealed, bytes(profile.metadata), *map(str.encode, profile.clears)))
    return blake2b(told, digest_size=_DIGEST_BYTES).digest()


def merge(
    state: ProfileState, sealed: SealedProfile | None, profile: Profile
) -> tuple[ProfileState, Changes]:
    """Merge what one record says into a profile; answers what changed by it.

    An address replaces the one before as a whole, since its parts belong together; one without any
    part counts as absent.

    Args:
        state: the profile before.
        sealed: the opened ``profile.sealed``; None where there is none or it cannot be opened.
        profile: what the record says.

    Raises:
        ValueError: ``profile.clears`` names something that is no field.
    """
    unknown = [name for name in profile.clears if name not in CLEARABLE]
    if unknown:
        raise ValueError(f"no field of a profile: {', '.join(unknown)}")
    told = SealedProfile() if sealed is None else sealed
    texts = {name: _text(state, told, profile, name) for name in TEXT_FIELDS}
    after = ProfileState(
        **texts,
        address=_address(state, told, profile),
        metadata=merge_metadata(state.metadata, profile, told.metadata),
    )
    return after, dict(_changes(state, after))


def _text(state: ProfileState, told: SealedProfile, profile: Profile, name: str) -> str | None:
    if name in profile.clears:
        return None
    given: str | None = getattr(told, name)
    kept: str | None = getattr(state, name)
    return kept if given is None else given


def _address(state: ProfileState, told: SealedProfile, profile: Profile) -> Address | None:
    if "address" in profile.clears:
        return None
    return state.address if told.address in (None, Address()) else told.address


def merge_metadata(
    before: JsonObject, profile: Profile, sealed: msgspec.Raw = EMPTY_OBJECT
) -> JsonObject:
    """Merge what one record says of metadata, key by key; a null removes its key.

    Past ``METADATA_BYTES_MAX`` the record changes none of it.

    Args:
        before: the metadata so far, within the bound.
        profile: what the record says in clear.
        sealed: what it says under seal, where that is opened.
    """
    after = {} if "metadata" in profile.clears else dict(before)
    told = [part for part in (sealed, profile.metadata) if part != EMPTY_OBJECT]
    for part in told:
        for key, value in codec.decode_object(part).items():
            if value is None:
                after.pop(key, None)
            else:
                after[key] = value
    return before if told and len(codec.encode(after)) > METADATA_BYTES_MAX else after


def fill(state: ProfileState, other: ProfileState) -> tuple[ProfileState, Changes]:
    """Fill what is empty in a profile from another one of the same person; answers what changed.

    Metadata is filled key by key, unless that takes it past ``METADATA_BYTES_MAX``.
    """
    texts: dict[str, str | None] = {}
    for name in TEXT_FIELDS:
        own: str | None = getattr(state, name)
        texts[name] = getattr(other, name) if own is None else own
    metadata = {**other.metadata, **state.metadata}
    if len(codec.encode(metadata)) > METADATA_BYTES_MAX:
        metadata = state.metadata
    after = ProfileState(
        **texts,
        address=other.address if state.address is None else state.address,
        metadata=metadata,
    )
    return after, dict(_changes(state, after))


def _changes(before: ProfileState, after: ProfileState) -> Iterator[tuple[str, FieldChange]]:
    for name in TEXT_FIELDS:
        old: str | None = getattr(before, name)
        new: str | None = getattr(after, name)
        if old != new:
            yield name, FieldChange(old, new)
    if before.address != after.address:
        yield "address", FieldChange(_address_json(before.address), _address_json(after.address))
    yield from changed_keys(before.metadata, after.metadata)


def changed_keys(before: JsonObject, after: JsonObject) -> Iterator[tuple[str, FieldChange]]:
    """Name the keys of metadata that differ, in alphabetical order."""
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if not same_json(old, new):
            yield f"metadata.{key}", FieldChange(old, new)


def same_json(one: Json, other: Json) -> bool:
    """Whether two JSON values are equal: numbers by amount, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    return one == other


def _address_json(address: Address | None) -> Json:
    return None if address is None else codec.decode_json(codec.encode(address))
