"""What stops or turns a processor, each with the sentence an operator reads."""

CHAIN_TOO_DEEP = "chain too deep"
"""Reason of a dead letter whose record is a link too many: rules set each other off."""


class InvalidRecordError(Exception):
    """This record cannot be applied; it becomes a dead letter."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FencedError(Exception):
    """Another process owns this partition now; nothing of this batch was written."""


class SwappedError(Exception):
    """The generation became live or ceased to be since this partition was claimed; claim again."""


class HeldError(Exception):
    """The generation is held at an offset that this batch would pass."""


class AheadOfLiveError(Exception):
    """A silent generation cannot apply what the live one has not come to yet; it waits for that."""


class UnlikeLiveError(Exception):
    """A silent generation cannot apply what the live one applied; mend the model, or drop it."""


class AwaitedError(Exception):
    """This record waits for an earlier one of another partition, which is on its way."""


class DivergedError(Exception):
    """The log is not the one this read model was made from; rebuild it or restore the log."""


class TooManyDeadLettersError(Exception):
    """Too many records of late could not be applied; look at the dead letters before going on."""

    def __init__(self, count: int, window: int) -> None:
        super().__init__(f"{count} dead letters within the last {window} records")


class ModelVersionError(Exception):
    """The generation was written by another version of the model; rebuild into a new one."""


class MembershipError(Exception):
    """A change of membership cannot be applied; no record is at fault, so nothing may pass it."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the membership changed at record {offset}")


class TooManyFiringsError(Exception):
    """More timers fire before a record than one transaction takes, some having set others."""

    def __init__(self, offset: int, *, is_set_off: bool) -> None:
        super().__init__(f"before record {offset}")
        self.offset = offset
        self.is_set_off = is_set_off
        """The record there was applied, and set them off itself."""
