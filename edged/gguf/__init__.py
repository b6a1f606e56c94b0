"""GGUF files, which are strangers': read, bounded and checked before any engine sees them."""
