"""Definitions over HTTP: planned as values, written as revisions, relayed to the log in order."""
