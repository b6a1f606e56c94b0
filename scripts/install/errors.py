"""The one error of an installation: a sentence for the person at the terminal."""


class SetupError(Exception):
    """What is missing or went wrong, and what to type; it is printed as it is, without a traceback."""
