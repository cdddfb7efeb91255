"""What runs: the processes, and what operators do with them."""
