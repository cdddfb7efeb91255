"""Turns matching events into signed webhooks: match, queue, sign, send, retry."""
