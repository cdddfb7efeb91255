"""Customers as requests spell them: who is meant, what is told of them, and what of it is sealed.

Guarantee: nothing that identifies a person leaves here in clear towards the log; an unchanged
profile reuses the blob already made, which opens only under that customer's key.
"""

from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from contracts.codec import encode
from contracts.codec import raw as as_raw
from contracts.errors import Fault
from contracts.events import EMPTY_OBJECT, Address, Profile, SealedProfile
from contracts.identifiers import CustomerId
from services.gateway.admission import UNREADABLE, UnfitError, read_metadata
from services.gateway.bounds import CUSTOMER_KEPT_BYTES_MAX, EVENT_BYTES_MAX
from services.gateway.dialects.native import AddressBody, CustomerBody, decode_customer
from services.gateway.errors import INVALID_CUSTOMER, RefusedEventError
from services.gateway.faults import customer_faults, is_day, is_email, normal_email
from services.gateway.identity import Identity, Resolution
from services.gateway.registrations import EMAIL, SOURCE_ID, Claim
from services.gateway.strict_json import is_doubtful
from services.runtime import problems
from services.runtime.problems import ProblemError
from services.runtime.sealing import seal

SEALED_FIELDS: Final = (
    "source_id",
    "email",
    "name",
    "phone",
    "description",
    "birthdate",
    "birthday",
    "address",
)


class Person(Struct, frozen=True, kw_only=True, gc=False):
    """A customer as spelled.

    ``given`` is all metadata, ``metadata`` what of it may stand in clear, ``personal`` the rest.
    """

    claim: Claim
    body: CustomerBody
    given: Raw
    metadata: Raw
    personal: Raw


class CustomerAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A customer in an answer: what was given, under its id."""

    object: str | UnsetType = UNSET
    id: CustomerId | None
    source_id: str | None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    description: str | None = None
    birthdate: str | None = None
    birthday: str | None = None
    address: Address | None = None
    metadata: Raw | UnsetType = UNSET


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """A customer found: what the record says of the profile, and what the answer says."""

    claim: Claim
    foreign: tuple[str, ...]
    identity: Identity
    profile: Profile | None
    answer: Raw
    warnings: tuple[Fault, ...]
    personal_keys: frozenset[str]
    """Keys of customer metadata that were personal when this was made."""


def read_person(
    text: bytes,
    personal_keys: frozenset[str],
    *,
    pointer: str = "/customer",
    clearing: bool = False,
) -> Person:
    """Read a customer.

    Args:
        text: JSON of the native form.
        personal_keys: of metadata, as the workspace marks them.
        pointer: of the customer, put before each fault's.
        clearing: null clears a field.

    Raises:
        RefusedEventError: with every fault.
    """
    if len(text) > EVENT_BYTES_MAX:
        raise ProblemError(problems.too_large(EVENT_BYTES_MAX))
    try:
        body = decode_customer(text)
        if is_doubtful(text, encode(body)) and customer_faults(
            text, pointer=pointer, clearing=clearing
        ):
            raise _refusal(text, pointer, "", clearing=clearing)
        return _judge(body, personal_keys)
    except UNREADABLE as error:
        raise _refusal(text, pointer, str(error), clearing=clearing) from error


def _judge(body: CustomerBody, personal_keys: frozenset[str]) -> Person:
    claim = Claim(
        customer=None if not body.id else CustomerId(body.id),
        source_id=body.source_id or None,
        email=normal_email(body.email) if body.email else None,
    )
    if body.id == "" or (claim.email is not None and not is_email(claim.email)):
        raise UnfitError("an identifier is refused")
    if claim.customer is None and claim.source_id is None and claim.email is None:
        raise UnfitError("there is no identifier")
    for day in (body.birthdate, body.birthday):
        if isinstance(day, str) and not is_day(day):
            raise UnfitError("a date is refused")
    given, values = read_metadata(body.metadata)
    metadata, personal = given, EMPTY_OBJECT
    if not personal_keys.isdisjoint(values):
        personal = as_raw({key: each for key, each in values.items() if key in personal_keys})
        metadata = as_raw({key: each for key, each in values.items() if key not in personal_keys})
    return Person(claim=claim, body=body, given=given, metadata=metadata, personal=personal)


def _refusal(text: bytes, pointer: str, reason: str, *, clearing: bool) -> RefusedEventError:
    faults = customer_faults(text, pointer=pointer, clearing=clearing) or (
        Fault(pointer=pointer, code="unreadable", detail=f"cannot be read: {reason}"),
    )
    return RefusedEventError(INVALID_CUSTOMER, faults)


def know(
    person: Person,
    identity: Identity,
    foreign: tuple[str, ...],
    *,
    personal_keys: frozenset[str],
    pointer: str = "/customer/",
    clearing: bool = False,
) -> Known:
    """What a record and an answer say of a customer that was found.

    An identifier that belongs to somebody else is left out of both, with a warning. Of an erased
    customer nothing is sealed, and nothing said.
    """
    told = _told(person, foreign)
    plain = encode(told)
    sealed: str | None = None
    if plain != b"{}" and identity.sealing_key is not None:
        sealed = identity.blob if plain == identity.plain else ""
        if not sealed:
            sealed = seal(identity.sealing_key, identity.customer, plain)
            if len(plain) <= CUSTOMER_KEPT_BYTES_MAX:
                identity.plain, identity.blob = plain, sealed
    clears = _cleared(person.body) if clearing else ()
    profile = Profile(sealed=sealed, metadata=person.metadata, clears=clears)
    says_nothing = sealed is None and not clears and person.metadata == EMPTY_OBJECT
    return Known(
        claim=person.claim,
        foreign=foreign,
        identity=identity,
        profile=None if says_nothing or identity.sealing_key is None else profile,
        answer=as_raw(_answer(person, told, identity.customer)),
        warnings=_warnings(foreign, pointer),
        personal_keys=personal_keys,
    )


def preview(person: Person, resolution: Resolution) -> tuple[CustomerAnswer, tuple[Fault, ...]]:
    """How an answer would show a customer, whether it exists or not, and the warnings."""
    identity = resolution.identity
    customer = None if identity is None else identity.customer
    told = _told(person, resolution.foreign)
    return _answer(person, told, customer), _warnings(resolution.foreign, "/customer/")


def cleared_identifiers(profile: Profile) -> tuple[str, ...]:
    """The identifiers that null cleared."""
    return tuple(kind for kind in (SOURCE_ID, EMAIL) if kind in profile.clears)


def _told(person: Person, foreign: tuple[str, ...]) -> SealedProfile:
    body = person.body
    return SealedProfile(
        source_id=None if SOURCE_ID in foreign else person.claim.source_id,
        email=None if EMAIL in foreign else person.claim.email,
        name=_given(body.name),
        phone=_given(body.phone),
        description=_given(body.description),
        birthdate=_given(body.birthdate),
        birthday=_given(body.birthday),
        address=_address(body.address),
        metadata=person.personal,
    )


def _answer(person: Person, told: SealedProfile, customer: CustomerId | None) -> CustomerAnswer:
    return CustomerAnswer(
        object="customer",
        id=customer,
        source_id=told.source_id,
        email=told.email,
        name=told.name,
        phone=told.phone,
        description=told.description,
        birthdate=told.birthdate,
        birthday=told.birthday,
        address=told.address,
        metadata=person.given,
    )


def _warnings(foreign: tuple[str, ...], pointer: str) -> tuple[Fault, ...]:
    """Say that identifiers stay with whom they belong to."""
    return tuple(
        Fault(
            pointer=f"{pointer}{kind}",
            code="belongs-to-another",
            detail=f"belongs to another customer and stays there; the {kind} was passed over",
        )
        for kind in foreign
    )


def _given(text: str | UnsetType | None) -> str | None:
    return None if text is UNSET else text


def _address(body: AddressBody | UnsetType | None) -> Address | None:
    if body is UNSET or body is None:
        return None
    return Address(
        city=_given(body.city),
        state=_given(body.state),
        line_1=_given(body.line_1),
        line_2=_given(body.line_2),
        country=_given(body.country),
        postal_code=_given(body.postal_code),
    )


def _cleared(body: CustomerBody) -> tuple[str, ...]:
    cleared = [name for name in SEALED_FIELDS if getattr(body, name) is None]
    if body.metadata is None:
        cleared.append("metadata")
    return tuple(cleared)
