"""Programs that do the same work without Upshot; each is measured by `measure(stack)`."""
