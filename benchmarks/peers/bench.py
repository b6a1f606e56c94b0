"""llama-bench: what the engine does without a server, without drawing a token, without a cache to keep."""

import json
import subprocess
from pathlib import Path

from benchmarks.peers.contenders import programs


def tokens_per_s(model: Path, *, threads: int, prompt: int = 0, generated: int = 0) -> float:
    """One repetition after its own warm-up: reading a prompt of so many tokens, or answering with so many."""
    command = [programs() / "llama-bench", "--model", model, "--n-prompt", prompt, "--n-gen", generated]
    command += ["--threads", threads, "--repetitions", 1, "--output", "json"]
    words = [str(word) for word in command]
    finished = subprocess.run(words, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"llama-bench ended with {finished.returncode}:\n{finished.stderr[-2000:]}")
    (result,) = json.loads(finished.stdout)
    return float(result["avg_ts"])
