"""The embedded stack: real Kafka and PostgreSQL, supervised processes, a receiver to play with."""
