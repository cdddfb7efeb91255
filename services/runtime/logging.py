"""Logs: a constant sentence and typed fields, one JSON object a line, or colours for people.

Payloads, secrets and personal data have no place in a field. What dependencies log through the
standard library comes out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Literal

import structlog
from structlog.typing import Processor

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
"""Local variables hold payloads and keys: they are never written."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

QUIET_DEPENDENCIES = ("aiokafka", "faust", "mode", "uvicorn")
"""They log at ``info`` what happens all the time; their warnings are kept."""


def configure_logging(
    process: str, *, level: LogLevel = "info", log_format: LogFormat = "json"
) -> None:
    """Send every log of this process to standard error, bearing the name of the process.

    Args:
        process: stands in each line as ``process``.
        level: the threshold.
        log_format: ``json`` for machines, ``console`` for people.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(process),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(_formatter(process, log_format))
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    for name in QUIET_DEPENDENCIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(module: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module, which is asked for by ``__name__``."""
    made: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(module)
    return made


def _formatter(process: str, log_format: LogFormat) -> logging.Formatter:
    renderer: Sequence[Processor] = (
        (_TRACEBACKS, structlog.processors.JSONRenderer())
        if log_format == "json"
        else (_for_people(),)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(process), structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )


def _for_people() -> Processor:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _shared(process: str) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _named(process),
    ]


def _named(process: str) -> Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add
