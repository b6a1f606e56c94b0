"""How families of models think and call in text: read, and asked for. Pure."""
