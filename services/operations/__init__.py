"""What operators do: one module a CLI verb."""
