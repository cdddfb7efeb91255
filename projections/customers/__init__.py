"""The customers projection: profiles, timelines, events by id, and who holds a fact."""
