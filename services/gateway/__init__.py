"""The front door: events come in, are checked, get a customer, are sealed and appended."""
