"""What the daemon and its children say to each other: one JSON line per frame, over an inherited socketpair.

    daemon ── Load ──────────────▶ worker        the model's descriptor travels beside it (SCM_RIGHTS)
           ◀─ Loading*, Loaded | LoadFailed
           ◀─ Tuned                              whenever something was found out about the machine
           ── Threads, Share, Generate, Cancel ──▶
           ◀─ Accepted | Rejected | Failed      one of them per Generate: Accepted when it begins to run
           ◀─ Failed                            the end of an accepted answer that cannot go on
           ── Count ─────────────▶
           ◀─ Counted                           one per Count
           ── Embed, Rank ───────▶
           ◀─ Embedded | Scored | Rejected | Starved    one of them per Embed or Rank
           ◀─ Step                              the news of all sequences of one decode, or of one step for vectors
           ◀─ DrafterLost

Hanging up is the leash: a child that reads end-of-file exits. Bulk (models, prefixes on disk, later images) never
travels in a frame. How frames become bytes is `framing.py`'s business; what is said about prefixes on disk is in
`prefix_wire.py`, and what is said to a template process in `template_wire.py`.

Standard library only, and no asyncio: a worker's start-up time is a person's waiting time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edged.chat import Lane
from edged.completion import FinishReason, TokenLogprob
from edged.load_wire import Infill, Taken
from edged.prefix_wire import PrefixNews, PrefixOrder
from edged.sampling import Constraint, Sampling
from edged.template_wire import Span, TemplateNews, TemplateOrder
from edged.token_wire import TokenNews, TokenOrder

KvType: TypeAlias = Literal["f16", "q8_0"]
Pooling: TypeAlias = Literal["mean", "cls", "last", "rank"]

FailureCode: TypeAlias = Literal["grammar_invalid", "capability_missing", "invalid_request", "queue_full"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a worker found out about its model on an undisturbed machine: all of it, each time.

    `decode_threads` decode fastest; None while that is not known. A step of `rows[n]` rows took `rows_s[n]` seconds at
    the beginning of a context, and `deep_rows_s[n]`, known for the first of them, behind `depth_tokens` tokens.
    """

    decode_threads: int | None = None
    rows: tuple[int, ...] = ()
    rows_s: tuple[float, ...] = ()
    depth_tokens: int = 0
    deep_rows_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Load the model behind the descriptors sent beside this frame. `gpu_layers` -1 means all that fit the device.

    `snapshot_bytes` bounds what is kept of conversations outside of the context.
    `tuned` is what an earlier run found out; the worker finds out what is missing.
    `prefix_bytes` is the longest file that prefixes may be written to, 0 if none; `model_key` tells such files whose
    they are.
    With `lookup` answers that repeat what was said before are guessed ahead. `drafter` is the name of a smaller model
    that guesses too. The first `pieces` of the descriptors are the model's, in order; the drafter's follow.
    """

    name: str
    context_tokens: int
    sequences: int
    threads: int
    gpu_layers: int
    snapshot_bytes: int = 0
    longest_gap_steps: float = 6.0
    tuned: Tuned = Tuned()
    follow_neighbours: bool = True
    maps_file: bool = True
    repacks: bool = True
    prefix_bytes: int = 0
    model_key: str = ""
    lookup: bool = True
    drafter: str = ""
    kv_type: KvType = "f16"
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class Loading:
    """Still loading; `progress` runs from 0 to 1."""

    progress: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready. `controls` are the texts that the tokenizer reads as control tokens.

    `pooling` is how a file that was made for vectors (rank: for scores) pools them; None: it was made for words.
    `gpus` are the devices that llama.cpp could compute on beside the processor; `gpu_layers` of `layers` lie there.
    `build` is all of the engine and its context that a state of a conversation depends on.
    `drafter` is the smaller model that guesses ahead; where it was to and cannot, `draft_problem` says why.
    `infill` is there for a model that fills gaps. `taken` is the memory that the model took, without a smaller one's.
    """

    context_tokens: int
    template: str
    bos: str
    eos: str
    controls: tuple[str, ...]
    description: str
    model_bytes: int
    parameters: int
    vocabulary_tokens: int = 0
    vector_floats: int = 0
    pooling: Pooling | None = None
    gpus: tuple[str, ...] = ()
    gpu_layers: int = 0
    layers: int = 0
    build: str = ""
    drafter: str = ""
    draft_problem: str = ""
    infill: Infill | None = None
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The engine refused the file, or found no memory for it; the worker exits after saying so."""

    message: str
    is_starved: bool = False


@dataclass(frozen=True, slots=True)
class ThoughtMarks:
    """Between which texts a model thinks before it answers: from `open`, unless the prompt `has_begun` it, to `close`.

    Stop strings mean nothing there. After `most_tokens` thoughts are ended by writing `ending` in the model's place.
    One of `breaks`, which is no part of it, ends a thought too. Where thoughts are not only in front they may come
    `is_anywhere`, or an answer consists of messages: each has a header from one of `headers` to `header_end`, with
    `open` in it if it is a thought.
    """

    open: str
    close: str
    ending: str
    has_begun: bool = False
    most_tokens: int | None = None
    breaks: tuple[str, ...] = ()
    is_anywhere: bool = False
    headers: tuple[str, ...] = ()
    header_end: str = ""


@dataclass(frozen=True, slots=True)
class Generate:
    """Answer `prompt` `n` times with at most `max_tokens` tokens; a smaller room in the context is a smaller bound.

    The answers are called `id`, `id` + 1 …, each with a seed of its own. What they leave in memory may be reused by the
    same `partition` only. When cells run short those in the background lane give way first. `prediction` is text that
    the answer may repeat. Where there are `tokens` they are the prompt, as they are. Control tokens are no text, but
    for those in `markers`; whatever ends an answer still does. With `thoughts` the model may think first.
    """

    id: int
    prompt: tuple[Span, ...]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    n: int = 1
    logprobs: int | None = None
    constraint: Constraint | None = None
    partition: str = ""
    lane: Lane = "interactive"
    prediction: str = ""
    markers: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    tells_progress: bool = False
    thoughts: ThoughtMarks | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """Make a vector of `text`, or where that is empty of `tokens`."""

    id: int
    text: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rank:
    """Judge how well `document` answers `query`."""

    id: int
    query: str
    document: str


@dataclass(frozen=True, slots=True)
class Share:
    """A prompt of the owner's, as two conversations have it: what both begin with is kept ready for every partition."""

    one: tuple[Span, ...]
    other: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Threads:
    """From the next step on use at most `count` threads, because other models answer too, in the processes `siblings`.

    At 0 they have all cores: what can wait must, and a step that is due all the same runs on one thread.
    """

    count: int
    siblings: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this answer any more. Unknown ids are ignored: the end may have crossed the cancellation."""

    id: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The prompt is being answered; `cached_tokens` of it were in memory and are not computed again."""

    id: int
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The prompt, text or pair does not fit the context."""

    id: int
    prompt_tokens: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An answer cannot be given, or not to its end; `code` is the error's name and `message` a sentence."""

    id: int
    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True)
class Output:
    """News of one sequence: `text` made of `tokens` tokens; with `finish`, its last word (`total` tokens in all).

    `stop` is the stop string that ended it. `read_tokens` of its prompt are in memory now, where that is to be told.
    """

    id: int
    text: str
    tokens: int
    finish: FinishReason | None = None
    total: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str = ""
    read_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One decode: what it brought to whom, how many prompt tokens it read, and where its time went.

    `step_s` is the whole step; of it `decode_s` was spent in llama_decode, `sample_s` in llama.cpp's sampler, and
    `guessing_s` by the smaller model.
    It advanced `decoding` answers, and might have read `chunk_tokens` prompt tokens, on `threads` threads at most.
    Of `drafted` guessed tokens so many were `accepted`: one of the sequences got that many tokens more than one.
    """

    outputs: tuple[Output, ...]
    prompt_tokens: int
    step_s: float
    decode_s: float
    sample_s: float
    decoding: int = 0
    chunk_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    guessing_s: float = 0.0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class DrafterLost:
    """The smaller model guesses nothing any more, for this `reason`. Answers go on without it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector of a text of `prompt_tokens` tokens: its length is 1. `vector` is base64 of 32-bit little-endian."""

    id: int
    vector: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Scored:
    """How well a pair of `prompt_tokens` tokens fits; larger is better, and only comparable within one model."""

    id: int
    score: float
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Starved:
    """No memory was to be had for this text; chats go on."""

    id: int


Frame: TypeAlias = (
    Load
    | Loading
    | Loaded
    | Tuned
    | LoadFailed
    | Generate
    | Embed
    | Rank
    | Share
    | Threads
    | Cancel
    | Accepted
    | Rejected
    | Failed
    | Step
    | DrafterLost
    | Embedded
    | Scored
    | Starved
    | TokenOrder
    | TokenNews
    | TemplateOrder
    | TemplateNews
    | PrefixOrder
    | PrefixNews
)
