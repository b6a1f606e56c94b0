"""Noise on questions while training: how people really type. Never applied in the exam or in the text.

English: misspellings, lost words, lost spaces, case, politeness, keywords only. Chinese: lost or swapped particles,
politeness, English terms mixed in, punctuation. One call makes one variant; many calls change little or nothing.
"""

import tomllib
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from guide.wordings import is_in_language

_NOISE = tomllib.loads((Path(__file__).parent / "text" / "noise.toml").read_text(encoding="utf-8"))
SYSTEM_MESSAGES: list[str] = _NOISE["system"]["messages"]
_EN: dict[str, Any] = _NOISE["en"]
_BESIDE: dict[str, str] = _EN["beside"]
_ZH: dict[str, Any] = _NOISE["zh"]
_ENDS_EN = ("", "", "", "?", "?", ".", "!", " ?", "??", "...")
_ENDS_ZH = ("", "", "", "？", "？", "。", "！", "?", "??", "……")


def augment(question: str, language: str, random: Random) -> str:
    """A variant of a question as somebody might have typed it; never empty."""
    varied = _augment_zh(question, random) if language == "zh" else _augment_en(question, random)
    return varied if is_in_language(varied.strip(), language) else question


def _augment_en(text: str, random: Random) -> str:
    words = text.split()
    if len(words) > 3 and random.random() < 0.12:
        words = [word for word in words if word not in _EN["stop_words"]] or words
    if len(words) > 3 and random.random() < 0.2:
        del words[random.randrange(len(words))]
    if len(words) > 2 and random.random() < 0.05:
        at = random.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    if len(words) > 1 and random.random() < 0.03:
        at = random.randrange(len(words) - 1)
        words[at : at + 2] = [words[at] + words[at + 1]]
    if random.random() < 0.3:
        for _ in range(random.choice((1, 1, 2))):
            at = random.randrange(len(words))
            words[at] = _misspell(words[at], random)
    text = " ".join(words)
    if random.random() < 0.17:
        text = random.choice(_EN["before"]) + text
    if random.random() < 0.15:
        text += random.choice(_EN["after"])
    return _punctuate(_recase(text, random), _ENDS_EN, random)


def _misspell(word: str, random: Random) -> str:
    """One slip in a word of four letters or more."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = random.randrange(1, len(word) - 1)
    slip = random.randrange(4)
    if slip == 0:
        return word[:at] + word[at + 1 :]
    if slip == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if slip == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + random.choice(_BESIDE.get(word[at], word[at])) + word[at + 1 :]


def _recase(text: str, random: Random) -> str:
    chance = random.random()
    if chance < 0.35:
        return text[:1].upper() + text[1:]
    if chance < 0.39:
        return text.upper()
    if chance < 0.42:
        return text.title()
    if chance < 0.5:
        return text.replace(" i ", " I ")
    return text


def _augment_zh(text: str, random: Random) -> str:
    for table, chance in ((_ZH["alike"], 0.25), (_ZH["english_terms"], 0.2)):
        if random.random() < chance:
            known = [pair for pair in table if pair[0] in text]
            if known:
                plain, other = random.choice(known)
                text = text.replace(plain, f" {other} " if other.isascii() and random.random() < 0.5 else other, 1)
    if len(text) > 5 and random.random() < 0.25:
        places = [at for at, letter in enumerate(text) if letter in _ZH["particles"]]
        at = random.choice(places) if places else random.randrange(len(text))
        text = text[:at] + text[at + 1 :]
    if len(text) > 6 and random.random() < 0.1:
        at = random.randrange(len(text))
        text = text[:at] + text[at + 1 :]
    if random.random() < 0.2:
        text = random.choice(_ZH["before"]) + text
    if random.random() < 0.15:
        text += random.choice(_ZH["after"])
    if random.random() < 0.15:
        text = _space_latin(text)
    if random.random() < 0.08:
        text = text.upper() if random.random() < 0.5 else text.title()
    return _punctuate(" ".join(text.split()), _ENDS_ZH, random)


def _space_latin(text: str) -> str:
    """Spaces between Han characters and Latin letters, as some people write."""
    spaced = text[:1]
    for before, letter in pairwise(text):
        is_border = (before > "\u3000") != (letter > "\u3000") and " " not in (before, letter)
        spaced += " " + letter if is_border else letter
    return spaced


def _punctuate(text: str, ends: tuple[str, ...], random: Random) -> str:
    return text if text.endswith(("?", "!", ".", "？")) else text + random.choice(ends)
