"""The kernel's side of the comparison: a projection that sums amounts by customer, no more."""
