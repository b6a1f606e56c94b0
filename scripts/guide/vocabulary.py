"""The tokenizer: byte-level BPE with the pre-tokenizer that llama.cpp calls "qwen2".

Every character beyond ASCII that the text uses is one token, and no token is longer than one such character: a question
in new Chinese words is then made of known parts. English gets merges learned from the text; other bytes stay bytes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTROL_TOKENS = (END_OF_TEXT, IM_START, IM_END)
PRE_TOKENIZER = "qwen2"  # as llama.cpp names it; the pattern below must split exactly as it does
_SPLIT = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens in the order of their ids, merges in the order of their rank, and the tokenizer made of both."""

    tokens: list[str]
    merges: list[tuple[str, str]]
    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; the names of control tokens in it stay text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def control(self, name: str) -> int:
        """Id of a control token."""
        return self.tokens.index(name)


def learn(texts: Iterable[str], latin_merges: int) -> Vocabulary:
    """A vocabulary for these texts with so many merges for ASCII text."""
    corpus = list(texts)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    _add_merges(_character_merges(corpus), tokens, merges)
    _add_merges(_latin_merges(corpus, latin_merges), tokens, merges)
    tokens += CONTROL_TOKENS
    return build(tokens, merges)


def build(tokens: list[str], merges: list[tuple[str, str]]) -> Vocabulary:
    """The vocabulary of known tokens and merges. Control tokens are no part of what `encode` can produce."""
    plain = {token: at for at, token in enumerate(tokens) if token not in CONTROL_TOKENS}
    tokenizer = Tokenizer(models.BPE(vocab=plain, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return Vocabulary(tokens, merges, tokenizer)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _add_merges(new: Iterable[tuple[str, str]], tokens: list[str], merges: list[tuple[str, str]]) -> None:
    known = set(tokens)
    for left, right in new:
        if left + right not in known:
            tokens.append(left + right)
            merges.append((left, right))
            known.add(left + right)


def _character_merges(corpus: list[str]) -> Iterable[tuple[str, str]]:
    """Merges that make each character beyond ASCII one token, byte by byte from the left."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for character in sorted({letter for text in corpus for letter in text if not letter.isascii()}):
        symbols = byte_level.pre_tokenize_str(character)[0][0]
        for end in range(1, len(symbols)):
            yield symbols[:end], symbols[end]


def _latin_merges(corpus: list[str], count: int) -> list[tuple[str, str]]:
    """Merges of ordinary BPE learned on the ASCII part of the texts."""
    ascii_only = ("".join(letter if letter.isascii() else "\n" for letter in text) for text in corpus)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + count, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(ascii_only, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
