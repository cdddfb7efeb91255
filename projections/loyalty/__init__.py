"""Points: which events earn them, and a ledger that can tell why."""
