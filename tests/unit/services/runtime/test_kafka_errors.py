"""A cancellation that nobody asked for is an outage; one that was asked for is a cancellation."""

import asyncio

import pytest

from services.runtime.kafka.errors import KafkaUnavailableError, not_cancelled


async def _wait(future: asyncio.Future[None]) -> None:
    with not_cancelled():
        await future


async def test_a_future_that_the_client_cancels_is_an_outage_to_who_waits_for_it() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()

    with pytest.raises(KafkaUnavailableError):
        await _wait(future)


async def test_a_task_group_hears_of_it() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_wait(future))
            tasks.create_task(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(future.cancel)

    with pytest.raises(ExceptionGroup) as caught:
        await both()

    assert caught.group_contains(KafkaUnavailableError)


async def test_a_task_that_is_cancelled_ends_as_cancelled() -> None:
    task = asyncio.create_task(_wait(asyncio.get_running_loop().create_future()))

    asyncio.get_running_loop().call_soon(task.cancel)

    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_deadline_passes_as_a_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await _wait(asyncio.get_running_loop().create_future())
