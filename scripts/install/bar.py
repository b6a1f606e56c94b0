"""Progress for a person: a bar that redraws itself on a terminal, a line per tenth elsewhere."""

from install.estimate import spoken

_WIDTH = 30


class Bar:
    """Shows how much is done and how long the rest will take."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._shown_tenths = 0

    def show(self, fraction: float, left_s: float) -> None:
        """Draw `fraction`, between 0 and 1."""
        text = f"{fraction:4.0%}, {spoken(left_s)} left"
        if self._is_terminal:
            full = round(fraction * _WIDTH)
            print(f"\r  {'#' * full}{'.' * (_WIDTH - full)} {text}\x1b[K", end="", flush=True)
        elif int(fraction * 10) > self._shown_tenths:
            self._shown_tenths = int(fraction * 10)
            print(f"  {text}", flush=True)

    def end(self) -> None:
        """Give the bar's line back."""
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)
