"""What the load generator itself can reach: it must be cheaper than every server it drives."""

from tests.benchmarks.support.driving import driven
from tests.benchmarks.support.figures import Figure, at_least
from tests.benchmarks.support.load import Plan
from tests.benchmarks.support.processes import listening, python, running
from tests.benchmarks.support.rounds import LOAD_CORES, SERVER_CORES
from tests.benchmarks.support.servers import Stack, free_port

SECONDS = 3.0
PER_SECOND_MIN = 30_000


async def measure(stack: Stack) -> list[Figure]:
    port = free_port()
    argv = python("tests.benchmarks.peers.trivial_server", str(port))
    async with running(argv, scratch=stack.scratch, name="trivial", cores=SERVER_CORES) as child:
        await listening(child, port)
        plan = Plan(port=port, path="/", bodies=[b"." * 200], seconds=SECONDS)
        result = await driven(plan, scratch=stack.scratch, cores=LOAD_CORES)
    cost = result.cpu_seconds / result.answered * 1e6
    return [
        Figure(
            name="load generator against a server that does nothing",
            value=result.per_second,
            unit="requests/s",
            goal=at_least(PER_SECOND_MIN),
            note=f"{cost:.1f} µs of processor time a request",
        )
    ]
