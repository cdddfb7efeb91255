"""Kafka, typed: topics, appending and reading. The one home of aiokafka."""
