"""Models from elsewhere: found, fetched, verified, named."""
