"""Which model of the catalogue suits this device: what it can, what the hub has, and the choice."""
