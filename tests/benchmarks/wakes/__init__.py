"""A projection that does nothing but wake: one row a timer."""
