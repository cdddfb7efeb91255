"""What is believed: read models, each a function of the log and a process of its own."""
