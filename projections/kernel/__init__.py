"""What every projection stands on: reading, checkpoints, versions, outbox, generations."""
