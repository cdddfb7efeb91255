"""What can go wrong while the stack starts, each with the sentence that says what to do."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot start; the message is a sentence for whoever runs it."""


class AlreadyRunningError(StackError):
    """Another start holds the data folder."""


class JarsUnavailableError(StackError):
    """Kafka's jars could not be fetched; check the network and start again."""


class ServerFailedError(StackError):
    """An embedded server ended or did not answer in time; its log says why."""


class UnreachableFolderError(StackError):
    """PostgreSQL refuses to run as root, and its own user cannot reach a folder it needs."""
