"""edged: one daemon that turns a small Linux board into an LLM appliance."""

__version__ = "0.1.0"
