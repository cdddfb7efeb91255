"""``python -m services.api``: the api process, configured by the environment."""

import uvloop

from services.api.server import serve
from services.runtime.logging import configure_logging
from services.runtime.settings import load_settings


def main() -> None:
    """Run the process until it is told to stop."""
    settings = load_settings()
    configure_logging("api", level=settings.log_level, log_format=settings.log_format)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
