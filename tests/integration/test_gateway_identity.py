"""Identities in a real registry, under races and over time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator

import pytest

from contracts.identifiers import WorkspaceName
from services.gateway.bounds import IDENTITY_AGE_SECONDS_MAX
from services.gateway.identity import Customers, Resolution
from services.gateway.registrations import Claim
from services.runtime.postgres import Pool, migrate_control, open_pool
from services.runtime.sealing import MasterKey
from tests.support.eventually import eventually

WORKSPACE = WorkspaceName("demo")
OTHER = WorkspaceName("other")
MASTER = MasterKey(bytes(32))


@pytest.fixture
async def pool(database: str) -> AsyncGenerator[Pool]:
    await migrate_control(database)
    async with open_pool(database) as opened:
        yield opened


def gateway(pool: Pool) -> Customers:
    return Customers(pool, MASTER, partitions=12)


def owner(resolution: Resolution) -> str:
    assert resolution.identity is not None
    return resolution.identity.customer


async def test_gateways_that_race_for_one_customer_end_with_one(pool: Pool) -> None:
    gateways = [gateway(pool) for _ in range(4)]
    claims = [
        Claim(source_id=f"s{n}", email=f"e{n}@b.c") if part else Claim(email=f"e{n}@b.c")
        for n in range(25)
        for part in (True, False)
    ]

    async def resolve(each: Customers, seed: int) -> dict[Claim, str]:
        shuffled = random.Random(seed).sample(claims, len(claims))
        found = await each.resolve(WORKSPACE, shuffled)
        return {claim: owner(resolution) for claim, resolution in zip(shuffled, found, strict=True)}

    answers = await asyncio.gather(*(resolve(each, n) for n, each in enumerate(gateways)))

    again = await gateway(pool).resolve(WORKSPACE, claims)
    assert all(answer == answers[0] for answer in answers)
    assert [owner(each) for each in again] == [answers[0][claim] for claim in claims]
    assert len(set(answers[0].values())) == 25


async def test_two_in_one_request_that_are_the_same_person_are_one(pool: Pool) -> None:
    found = await gateway(pool).resolve(
        WORKSPACE,
        [Claim(source_id="s"), Claim(source_id="s", email="e@b.c"), Claim(email="e@b.c")],
    )

    assert len({owner(each) for each in found}) == 1
    assert len({each.identity.sealing_key for each in found if each.identity}) == 1


async def test_a_new_source_id_joins_the_owner_of_its_email_only_where_it_has_none(
    pool: Pool,
) -> None:
    customers = gateway(pool)
    (first,) = await customers.resolve(WORKSPACE, [Claim(email="e@b.c")])

    (joined,) = await customers.resolve(WORKSPACE, [Claim(source_id="one", email="e@b.c")])
    (apart,) = await customers.resolve(WORKSPACE, [Claim(source_id="two", email="e@b.c")])

    assert owner(joined) == owner(first) != owner(apart)
    assert (joined.foreign, apart.foreign) == ((), ("email",))


async def test_a_higher_rank_decides_and_what_belongs_to_another_stays(pool: Pool) -> None:
    customers = gateway(pool)
    one, two = await customers.resolve(
        WORKSPACE, [Claim(source_id="one", email="one@b.c"), Claim(source_id="two")]
    )
    assert one.identity is not None and two.identity is not None

    (crossed,) = await customers.resolve(
        WORKSPACE, [Claim(customer=two.identity.customer, source_id="one", email="one@b.c")]
    )

    assert owner(crossed) == owner(two)
    assert crossed.foreign == ("source_id", "email")
    assert customers.known(WORKSPACE, Claim(source_id="one")) == Resolution(one.identity)


async def test_a_workspace_never_sees_another_ones_customers(pool: Pool) -> None:
    customers = gateway(pool)
    (here,) = await customers.resolve(WORKSPACE, [Claim(source_id="s")])
    assert here.identity is not None

    (there,) = await customers.resolve(OTHER, [Claim(source_id="s")])
    (by_id,) = await customers.resolve(OTHER, [Claim(customer=here.identity.customer)])

    assert owner(there) != owner(here)
    assert by_id.identity is None


async def test_looking_up_registers_nobody(pool: Pool) -> None:
    customers = gateway(pool)

    found = await customers.look_up(WORKSPACE, Claim(source_id="s"))

    async with pool.connection() as session:
        rows = await (await session.execute("SELECT 1 FROM identities")).fetchall()
    assert found.identity is None
    assert rows == []


async def test_what_is_known_is_believed_for_a_minute(pool: Pool) -> None:
    customers = gateway(pool)
    claim = Claim(source_id="s")
    (found,) = await customers.resolve(WORKSPACE, [claim])
    assert found.identity is not None

    assert customers.known(WORKSPACE, claim) == found

    found.identity.read_at = time.monotonic() - IDENTITY_AGE_SECONDS_MAX
    assert customers.known(WORKSPACE, claim) is None


async def test_a_refresh_makes_what_is_known_young_again_or_drops_it(pool: Pool) -> None:
    customers = gateway(pool)
    claim = Claim(source_id="s")
    (found,) = await customers.resolve(WORKSPACE, [claim])
    identity = found.identity
    assert identity is not None
    identity.read_at -= 40
    old = identity.read_at

    customers.refresh(WORKSPACE, claim, found)
    await eventually(lambda: identity.read_at > old)
    async with pool.connection() as session:
        await session.execute("DELETE FROM customer_keys")
    customers.refresh(WORKSPACE, claim, found)

    await eventually(lambda: not identity.is_current(time.monotonic()))
