"""What an event costs as the ledger grows; takes minutes, so it is measured when named."""

from tests.benchmarks.loyalty import grown
from tests.benchmarks.support.figures import Figure
from tests.benchmarks.support.servers import Stack


async def measure(stack: Stack) -> list[Figure]:
    return await grown(stack)
