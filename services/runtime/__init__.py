"""What every process stands on: settings, logs, metrics, health, clock, Kafka, Postgres, seals."""
