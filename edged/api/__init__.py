"""HTTP: dialects, guards and sockets. Sees models only through the Backend that it is given."""
