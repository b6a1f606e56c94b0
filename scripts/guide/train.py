"""Trains guide, from nothing or from an earlier file, on the text in text/*.toml and writes the GGUF file.

    PYTHONPATH=scripts python -m guide.train [--steps 3000] [--seconds 3300] [--go-on FILE | --earlier FILE]
                                             [--out edged/guide.gguf]

Needs the environment that README.md describes (PyTorch, tokenizers, gguf); nothing of it is needed to run edged. The
training ends after so many steps or so much time, whichever is first, and the learning rate follows the share that has
passed: a short run is a complete one, only worse.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from math import cos, pi
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from guide import gguf_file
from guide.augment import augment
from guide.conversations import Conversation, Source
from guide.network import Network, Shape
from guide.vocabulary import learn
from guide.wordings import LANGUAGES, Topic, draw, load_topics

ROOT = Path(__file__).parents[2]
SEED = 20_260_801
LATIN_MERGES = 1_800  # gives most English words of the text a token of their own
BATCH_TOKENS = 4_096  # about 120 questions a step
POOL_CONVERSATIONS = 2_048  # sorted by length together, so that rows of a batch need little padding
LEARNING_RATE = 2e-3
WARM_UP = 0.03  # of the training
DROPOUT = 0.1  # of the embeddings; the noise on the questions does the rest
# glibc gives large blocks back to the kernel at once; fetching them again costs half of the time of a step (measured).
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "OMP_WAIT_POLICY": "passive",
}
LABEL_SMOOTHING = 0.03
# At the end, with small steps, the wordings mostly as they are written: what was learned from noise stays, and the
# written ones are answered exactly.
CLEAN_FROM, CLEAN_NOISY_SHARE = 0.75, 0.25
EARLIER_RATE = 0.5  # of the learning rate, when a file of an earlier text learns what is new
GOING_ON_RATE = 0.1  # of the learning rate, when a finished file is trained on; at 0.4 it got worse again


def main() -> None:
    """Learn the vocabulary, train, write the file."""
    arguments = _arguments()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    topics = [topic for language in LANGUAGES for topic in load_topics(language)]
    vocabulary = learn(_vocabulary_texts(topics), LATIN_MERGES)
    network = Network(Shape(vocabulary=len(vocabulary.tokens)), DROPOUT)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{len(topics)} topics, {len(vocabulary.tokens)} tokens, {parameters / 1e6:.2f} M parameters", flush=True)
    source, rate = Source(topics, vocabulary, SEED), LEARNING_RATE
    if arguments.go_on is not None:
        gguf_file.read(network, vocabulary, arguments.go_on)
        source.noisy_share, rate = CLEAN_NOISY_SHARE, LEARNING_RATE * GOING_ON_RATE
    elif arguments.earlier is not None:
        gguf_file.read(network, vocabulary, arguments.earlier)
        rate = LEARNING_RATE * EARLIER_RATE
    train(network, source, arguments.steps, arguments.seconds, rate)
    gguf_file.write(network, vocabulary, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


def train(network: Network, source: Source, steps: int, seconds: float, rate: float) -> None:
    """Train for so many steps, but not longer than so many seconds of wall time."""
    optimizer = torch.optim.AdamW(_groups(network), betas=(0.9, 0.98))
    network.train()
    started, loss_mean, rows_seen = time.monotonic(), 0.0, 0
    for step, batch in enumerate(batches(source)):
        share = max(step / steps, (time.monotonic() - started) / seconds)
        if share >= 1:
            break
        if share >= CLEAN_FROM:
            source.noisy_share = CLEAN_NOISY_SHARE
        for group in optimizer.param_groups:
            group["lr"] = rate * min(share / WARM_UP, 1.0) * (0.01 + 0.99 * (1 + cos(pi * share)) / 2)
        loss = batch_loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rows_seen += len(batch)
        loss_mean = loss.item() if step == 0 else 0.98 * loss_mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"{share:6.1%}  step {step}  {rows_seen} conversations  loss {loss_mean:.3f}", flush=True)
    network.eval()


def batches(source: Source) -> Iterator[list[Conversation]]:
    """Batches of rows of like length, in random order, without end."""
    while True:
        pool = sorted((source.conversation() for _ in range(POOL_CONVERSATIONS)), key=lambda row: len(row.ids))
        cut: list[list[Conversation]] = [[]]
        for row in pool:
            if (len(cut[-1]) + 1) * len(row.ids) > BATCH_TOKENS and cut[-1]:
                cut.append([])
            cut[-1].append(row)
        source.random.shuffle(cut)
        yield from cut


def batch_loss(network: Network, batch: list[Conversation]) -> Tensor:
    """Weighted mean of the cross-entropy over the tokens to be learned."""
    length = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [0] * (length - len(row.ids)) for row in batch])
    positions = torch.tensor([row.positions + [0] * (length - len(row.ids)) for row in batch])
    weights = torch.tensor([row.weights + [0.0] * (length - len(row.ids)) for row in batch])[:, 1:]
    learned = weights > 0
    states = network(ids[:, :-1], positions[:, :-1])[learned]
    losses = functional.cross_entropy(
        network.logits(states), ids[:, 1:][learned], reduction="none", label_smoothing=LABEL_SMOOTHING
    )
    return (losses * weights[learned]).sum() / weights[learned].sum()


def _groups(network: Network) -> list[dict[str, object]]:
    """Weight decay for matrices only; gains of the norms have none."""
    matrices = [parameter for parameter in network.parameters() if parameter.dim() == 2]
    gains = [parameter for parameter in network.parameters() if parameter.dim() < 2]
    return [{"params": matrices, "weight_decay": 0.05}, {"params": gains, "weight_decay": 0.0}]


def _vocabulary_texts(topics: list[Topic]) -> Iterator[str]:
    """Text to learn the vocabulary from: answers, and wordings as they are and with noise."""
    random = Random(SEED)
    for topic in topics:
        yield from [topic.answer] * 20
        for _ in range(10 * len(topic.trees)):
            text = draw(topic, random)
            yield text
            yield augment(text, topic.language, random)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train guide and write its GGUF file.")
    parser.add_argument("--steps", type=int, default=3_000, help="steps to train (default 3000)")
    parser.add_argument("--seconds", type=float, default=3_300, help="wall time to train at most (default 3300)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--go-on", type=Path, metavar="FILE", help="finish a file of the same text with small steps")
    start.add_argument("--earlier", type=Path, metavar="FILE", help="start from the weights of a file of another text")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default 2)")
    parser.add_argument("--out", type=Path, default=ROOT / "edged" / "guide.gguf", help="the file to write")
    return parser.parse_args()


if __name__ == "__main__":
    if not KEEP_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", "guide.train", *sys.argv[1:]], {**os.environ, **KEEP_MEMORY})
    main()
