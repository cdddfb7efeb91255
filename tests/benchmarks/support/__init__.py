"""What every benchmark stands on: servers, filled topics, child processes, load, figures."""
