"""What Upshot costs, measured beside its peers on one machine, one broker, in one run."""
