"""Who may do what on this device: people, their browsers, keys, and the decision about each request."""
