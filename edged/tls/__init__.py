"""TLS: who vouches for this device, and the certificate that it shows."""
