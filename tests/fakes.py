"""Stand-ins for what is heavy or far. They keep the rules of the real thing, and say so when somebody breaks one.

`FakeLlama` is an engine without a model: its next token is a hash of what a sequence's cells hold, so a text is right
only if exactly the right tokens were in memory in the right order. `FakeVectors` is the same for vectors.
`ScriptedBackend` answers a chat with what a test wrote down, and tells when it was begun, waited for and closed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from array import array
from collections.abc import AsyncIterator, Callable
from collections.abc import Sequence as Items
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import psutil

from edged.cells import MOST_DRAFTED_TOKENS
from edged.chat import ChatRequest, EmbedRequest, RerankRequest
from edged.completion import Admission, Completion, Counted, Embeddings, Event, Ranking, TokenLogprob
from edged.errors import EdgedError
from edged.wire import Embed, Rank, ThoughtMarks
from edged.worker.account import Account
from edged.worker.draft import Draft
from edged.worker.drafts import Drafts
from edged.worker.embedding import Portion
from edged.worker.engine import DecodeFailed, MemoryFull, Row
from edged.worker.job import Job
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.thinking import Thinking

END = 0
# Letters, whole and halved Chinese characters, a halved emoji, pieces that stop strings are made of, and a token
# without any text; index 0 is the end token.
PIECES: tuple[bytes, ...] = (
    b"",
    *(letter.encode() for letter in "abcdefgh"),
    "你".encode(),
    "好".encode()[:1],
    "好".encode()[1:],
    "🙂".encode()[:2],
    "🙂".encode()[2:],
    b"",
    b" the",
    b"STOP",
    b"ST",
    b"OP",
)


class FakeLlama:
    """The batcher's `Engine` with llama.cpp's rules: every breach is an AssertionError, only a lack of cells is not.

    A slot is a list of cells, a cell is a one-item list with its token: slots that share a cell hold the same list.
    """

    def __init__(
        self,
        context_tokens: int = 1024,
        sequences: int = 8,
        batch_tokens: int = 64,
        is_full: Callable[[], bool] = lambda: False,
        slots: int | None = None,
        *,
        is_cuttable: bool = True,
        fails: Callable[[], bool] = lambda: False,
    ) -> None:
        self.context_tokens = context_tokens
        self.sequences = sequences
        self.slots = slots or 2 * sequences + 1
        self.batch_tokens = batch_tokens
        self.decodes: list[list[Row]] = []
        self.open_samplers = 0
        self.is_cuttable = is_cuttable
        self._fails = fails
        self._is_full = is_full
        self._state: dict[int, list[int]] = {}
        self._slots: dict[int, list[list[int]]] = {}
        self._outputs: dict[int, int] = {}

    @property
    def cells(self) -> dict[int, list[int]]:
        """The tokens of every slot that holds any."""
        return {slot: [token for (token,) in cells] for slot, cells in self._slots.items()}

    @property
    def used_cells(self) -> int:
        """Cells that are not empty; one that is shared is one."""
        return len({id(cell) for cells in self._slots.values() for cell in cells})

    def decode(self, rows: Items[Row]) -> None:
        """Put every row into its cell and compute the outputs that were asked for."""
        assert 0 < len(rows) <= self.batch_tokens, f"{len(rows)} rows in a batch of {self.batch_tokens}"
        if self.used_cells + len(rows) > self.context_tokens or self._is_full():
            raise MemoryFull
        if self._fails():
            if not self.is_cuttable:
                self._state |= {row.slot: [-1] for row in rows}
            raise DecodeFailed("llama_decode returned -3")
        self.decodes.append(list(rows))
        self._outputs = {}
        for index, row in enumerate(rows):
            assert 0 <= row.slot < self.slots, f"slot {row.slot} does not exist"
            cells = self._slots.setdefault(row.slot, [])
            assert row.position == len(cells), f"slot {row.slot} holds {len(cells)} tokens, and {row.position} came"
            state = self._state.setdefault(row.slot, [])
            assert state == [token for (token,) in cells], f"slot {row.slot} has the state of other tokens"
            cells.append([row.token])
            state.append(row.token)
            if row.has_output:
                self._outputs[index] = _hash([token for (token,) in cells])
        assert len(self._outputs) <= max(self.slots, self.sequences + MOST_DRAFTED_TOKENS), (
            "more outputs than n_outputs_max"
        )
        assert len({row.slot for row in rows if row.has_output}) <= self.sequences, "more run than may"

    def output(self, row: int) -> int:
        """What the last decode computed for a row that asked for it."""
        return self._outputs[row]

    def copy(self, source: int, target: int, count: int) -> None:
        """Share cells: llama.cpp would add to whatever the target holds."""
        assert source != target
        assert target not in self._slots, "the target still holds cells"
        assert 0 <= target < self.slots
        assert 0 < count <= len(self._slots[source])
        self._slots[target] = self._slots[source][:count]
        self._state[target] = self._state[source][: count if self.is_cuttable else None]

    def cut(self, slot: int, count: int) -> None:
        """Let go of the cells behind; a state that is longer cannot follow."""
        if self.is_cuttable:
            self._state[slot] = self._state[slot][:count]
        assert len(self._state[slot]) <= count, "llama_memory_seq_rm returns false"
        self._slots[slot] = self._slots[slot][:count]

    def release(self, slot: int) -> None:
        """Empty a slot's cells."""
        assert 0 <= slot < self.slots
        self._slots.pop(slot, None)
        self._state.pop(slot, None)

    def checkpoint(self, slot: int) -> bytes:
        """The state's tokens in digits."""
        return repr(self._state[slot]).encode()

    def checkpoint_bytes(self, slot: int) -> int:
        """How long that is."""
        return len(self.checkpoint(slot))

    def resume(self, slot: int, checkpoint: bytes) -> None:
        """The state as it was; the cells in front of it must be those that it was made over."""
        self._state[slot] = json.loads(checkpoint)
        held = [token for (token,) in self._slots[slot]]
        assert held[: len(self._state[slot])] == self._state[slot], "a checkpoint of other tokens"

    def save(self, slot: int) -> bytes:
        """All tokens of a slot."""
        assert slot in self._slots, "an empty slot was saved"
        assert self._state[slot] == self.cells[slot]
        return repr(self.cells[slot]).encode()

    def save_bytes(self, slot: int) -> int:
        """How long that is."""
        return len(self.save(slot))

    def load(self, slot: int, state: bytes) -> bool:
        """Fill new cells, if there are enough."""
        assert slot not in self._slots, "the target still holds cells"
        tokens = json.loads(state)
        if self.used_cells + len(tokens) > self.context_tokens or self._is_full():
            return False
        self._slots[slot], self._state[slot] = [[token] for token in tokens], tokens
        return True

    def piece(self, token: int) -> bytes:
        """The token's bytes."""
        return PIECES[token]

    def is_end(self, token: int) -> bool:
        """Only token 0 ends a turn."""
        return token == END


class FakeSampler:
    """Draws by output, seed and how often it has drawn: a draw too many, too few or from elsewhere changes the text."""

    def __init__(
        self, llama: FakeLlama, seed: int = 0, *, end_in: int = 12, late_in: int = 0, is_scored: bool = False
    ) -> None:
        self._llama = llama
        self._seed = seed
        self._end_in = end_in
        self._late_in = late_in
        self._is_scored = is_scored
        self._looks = 0
        self._last = END
        self._kept: int | None = None
        self._draws = 0
        self._forced = list[int]()
        self._is_open = True
        llama.open_samplers += 1

    @property
    def is_ready(self) -> bool:
        """Not at every `late_in`-th look, as if a grammar's mask took longer than the decode."""
        self._looks += 1
        return not self._late_in or self._looks % self._late_in != 0

    @property
    def score(self) -> TokenLogprob | None:
        """The last token, as likely as its number."""
        return TokenLogprob(PIECES[self._last], -float(self._last)) if self._is_scored else None

    def keep(self, row: int) -> None:
        """Note the output of a row, over what was kept before its cells were lost."""
        self._kept = self._llama.output(row)

    def draw(self, row: int | None) -> int:
        """The next token; about every `end_in`-th is the end."""
        assert self._is_open, "a closed sampler drew"
        self._draws += 1
        output = self._kept if row is None else self._llama.output(row)
        assert output is not None, "nothing was kept to draw from"
        self._kept = None
        self._last = self._forced.pop(0) if self._forced else self._token(_hash([output, self._seed, self._draws]))
        return self._last

    def force(self, tokens: Items[int]) -> None:
        """They come next."""
        self._forced.extend(tokens)

    def peek(self, tokens: list[int], count: int) -> list[int]:
        """The tokens that will be drawn next, if `tokens` are those so far."""
        tokens = list(tokens)
        for draws in range(self._draws + 1, self._draws + 1 + count):
            tokens.append(self._token(_hash([_hash(tokens), self._seed, draws])))
        return tokens[-count:]

    def foresee(self, tokens: Items[int]) -> None:
        """Nothing needs preparing."""
        assert self._is_open, "a closed sampler looked ahead"

    def _token(self, drawn: int) -> int:
        return END if drawn % self._end_in == 0 else 1 + drawn // self._end_in % (len(PIECES) - 1)

    def close(self) -> None:
        """Once."""
        assert self._is_open, "a sampler was closed twice"
        self._is_open = False
        self._llama.open_samplers -= 1


def _hash(numbers: Items[int]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(list(numbers)).encode(), digest_size=6).digest())


class FakeVectors:
    """A `VectorEngine` with llama.cpp's rules; a result is (sum of the tokens, how many)."""

    def __init__(
        self, *, can_split: bool, sequences: int = 4, batch_tokens: int = 16, longest_tokens: int = 64
    ) -> None:
        self.can_split = can_split
        self.sequences = sequences
        self.batch_tokens = batch_tokens
        self.longest_tokens = longest_tokens
        self.prepared_tokens = 0
        self.cells: dict[int, list[int]] = {}
        self.reads: list[int] = []
        self.decode_s = 0.0

    def tokens_of(self, wanted: Embed | Rank) -> list[int]:
        """A pair is its two lengths."""
        return [len(wanted.query), len(wanted.document)] if isinstance(wanted, Rank) else list(wanted.tokens)

    def prepare(self, longest_tokens: int) -> None:
        """Larger only while nothing is under way."""
        assert longest_tokens <= self.longest_tokens
        if longest_tokens > self.prepared_tokens:
            assert not self.cells, "a context was exchanged under a text"
            self.prepared_tokens = longest_tokens

    def read(self, portions: Items[Portion]) -> list[list[float]]:
        """Every portion continues its slot."""
        count = sum(len(portion.tokens) for portion in portions)
        is_lone = len(portions) == 1 and not self.can_split
        assert 0 < count <= self.batch_tokens or is_lone, f"{count} tokens in a batch of {self.batch_tokens}"
        assert len({portion.slot for portion in portions}) == len(portions) <= self.sequences
        self.reads.append(count)
        results = []
        for portion in portions:
            cells = self.cells.setdefault(portion.slot, [])
            assert portion.first == len(cells)
            assert self.can_split or (portion.first == 0 and portion.is_last)
            cells.extend(portion.tokens)
            assert len(cells) <= self.prepared_tokens
            if portion.is_last:
                results.append([float(sum(cells)), float(len(cells))])
        assert sum(map(len, self.cells.values())) <= self.prepared_tokens + self.batch_tokens, "cells ran out"
        return results

    def use_threads(self, threads: int) -> None:
        """At least one."""
        assert threads >= 1

    def forget(self, slot: int) -> None:
        """Empty a slot."""
        assert slot in self.cells
        del self.cells[slot]

    def close(self) -> None:
        """Only when nothing is under way."""
        assert not self.cells
        self.prepared_tokens = 0


def job(
    llama: FakeLlama,
    id: int,
    prompt: Items[int],
    *,
    max_tokens: int = 32,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    end_in: int = 12,
    late_in: int = 0,
    is_scored: bool = False,
    partition: str = "",
    marks: tuple[int, ...] = (),
    thought_tokens: int | None = None,
) -> Job:
    """A submission, its bound cut to the context as the worker does; with `thought_tokens` it begins in a thought."""
    most = min(max_tokens, llama.context_tokens - len(prompt))
    sequence = Sequence(id, list(prompt), len(prompt), most, StopFilter(stop), partition, marks=marks)
    if thought_tokens is not None:
        thoughts = ThoughtMarks("ST", "ab", "ab", has_begun=True, most_tokens=thought_tokens)
        sequence.thinking = Thinking(thoughts, [PIECES.index(b"a"), PIECES.index(b"b")])
    return Job(sequence, FakeSampler(llama, seed, end_in=end_in, late_in=late_in, is_scored=is_scored))


class KnownDrafts(Drafts):
    """Drafts for anybody, in every step, what an answer is known to be, with mistakes."""

    def __init__(self, texts: dict[int, list[int]]) -> None:
        super().__init__()
        self.drafted = 0
        self._texts = {id: list(tokens) for id, tokens in texts.items()}
        self._chance = random.Random(3)

    def choose(self, decoding: Items[Job], room: int) -> Draft | None:
        """Three of ten tokens are another's; nothing where the answer is at its end."""
        job = self._chance.choice(decoding)
        coming = self._texts[job.sequence.id][len(job.sequence.tokens) :][: min(room, MOST_DRAFTED_TOKENS)]
        self.drafted += len(coming)
        others = self._texts[job.sequence.id]
        tokens = [token if self._chance.random() < 0.7 else self._chance.choice(others) for token in coming]
        return Draft(job, tokens, [0.0] * len(tokens), Account()) if tokens else None


@dataclass(slots=True)
class Script:
    """One answer: what happens in which order. An event is sent, an error raised, an `asyncio.Event` waited for."""

    steps: tuple[Event | EdgedError | asyncio.Event, ...] = ()
    admission: EdgedError | asyncio.Event | None = None
    prompt_tokens: int = 5
    route: str = "local"


@dataclass(slots=True)
class ScriptedBackend:
    """A `Backend` that plays its script for every request, and counts what it owes."""

    script: Script = field(default_factory=Script)
    requests: list[ChatRequest] = field(default_factory=list)
    measured: list[EmbedRequest | RerankRequest] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: ChatRequest) -> Completion:
        """Admit as scripted. `cancelled` is set when somebody gives up before that."""
        self.requests.append(request)
        await self._admit()
        resources = AsyncExitStack()
        resources.callback(self.closed.set)
        admission = Admission("guide", "local", self.script.prompt_tokens, route=self.script.route)
        return Completion(admission, self._play(), resources)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vector (n, 0) for the n-th text, which costs a token per character or id."""
        self.measured.append(request)
        await self._admit()
        tokens = sum(map(len, request.inputs))
        vectors = tuple(array("f", (index, 0.0)).tobytes() for index in range(1, len(request.inputs) + 1))
        return Embeddings(Admission("guide", "local", tokens, route=self.script.route), vectors)

    async def rerank(self, request: RerankRequest) -> Ranking:
        """A document's score is its length."""
        self.measured.append(request)
        await self._admit()
        scores = tuple(float(len(document)) for document in request.documents)
        return Ranking(Admission("guide", "local", 7, route=self.script.route), scores)

    async def count(self, request: ChatRequest) -> Counted:
        """A token per letter, of which the first could be reused."""
        self.requests.append(request)
        await self._admit()
        tokens = sum(len(message.text) for message in request.messages)
        return Counted(Admission("guide", "local", 0, route=self.script.route), tokens, min(1, tokens))

    async def _admit(self) -> None:
        self.asked.set()
        if isinstance(self.script.admission, EdgedError):
            raise self.script.admission
        if self.script.admission is not None:
            try:
                await self.script.admission.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

    async def _play(self) -> AsyncIterator[Event]:
        for step in self.script.steps:
            if isinstance(step, EdgedError):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step


async def until(holds: Callable[[], bool]) -> None:
    """Let everybody else run until `holds()`; a wait in vain is ended by pytest's timeout."""
    while not holds():  # noqa: ASYNC110 - for what nobody announces
        await asyncio.sleep(0.001)


def workers() -> list[psutil.Process]:
    """Our own children that decode or render, zombies included; a daemon or a browser of other tests is none."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return child.status() == psutil.STATUS_ZOMBIE or "edged.worker" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:
        return False
