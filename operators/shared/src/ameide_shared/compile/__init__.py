"""What the plans of all kinds have in common: refusals, what stands around the pods, and the fields of status. Pure."""
