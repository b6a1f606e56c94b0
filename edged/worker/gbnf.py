"""llama.cpp's grammar notation, GBNF, becomes Lark as llguidance reads it.

    root ::= "yes" | [0-9]+ item        start: r0_root
    item ::= "(" root ")"         ─▶    r0_root: "yes" | /[\\x{30}-\\x{39}]/+ r1_item
                                        r1_item: "(" r0_root ")"

The two differ in little but names, so the text is translated token by token; what it means is llguidance's business,
and so are the limits. Rules that never come back to themselves are written in capitals: llguidance then matches them as
one regular expression, which is faster, and exact where one repetition could end in several places.

Notation: grammars/README.md of llama.cpp. References to tokens (`<think>`, `<[1000]>`) are not taken over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]++|\#[^\r\n]*+)
    |(?P<rule>[A-Za-z0-9_-]++)(?=[ \t\r\n]*+::=)
    |(?P<define>::=)
    |(?P<name>[A-Za-z0-9_-]++)
    |"(?P<text>(?:[^"\\\r\n]|\\.)*+)"
    |\[(?P<not>\^?)(?P<set>(?:[^\]\\\r\n]|\\.)*+)\]
    |(?P<any>\.)
    |(?P<same>[|()*+?]|\{[ ]*+[0-9]++[ ]*+(?:,[ ]*+[0-9]*+[ ]*+)?\})""",
    re.VERBOSE,
)
_CHARACTER = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\(.)|([^\\])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "^": "^", "/": "/"}


class NotGbnf(ValueError):
    """The text is no grammar; the message says where."""


@dataclass(slots=True)
class _Rule:
    name: str
    body: list[str] = field(default_factory=list)  # Lark, but for references
    references: dict[int, str] = field(default_factory=dict)  # by place in the body


def to_lark(text: str) -> str:
    """The same grammar in Lark. Raises `NotGbnf`."""
    rules: dict[str, _Rule] = {}
    for rule in _rules(text):
        if rule.name in rules:
            raise NotGbnf(f"the rule {rule.name!r} is defined twice")
        rules[rule.name] = rule
    for name in ("root", *(name for rule in rules.values() for name in rule.references.values())):
        if name not in rules:
            raise NotGbnf(f"there is no rule {name!r}")
    names = _names(rules)
    return "\n".join(
        [f"start: {names['root']}", *(f"{names[rule.name]}: {_body(rule, names)}" for rule in rules.values())]
    )


def _rules(text: str) -> Iterator[_Rule]:
    rule, at = None, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (rule is None and token.lastgroup not in ("space", "rule")):
            raise NotGbnf(f"line {text.count(chr(10), 0, at) + 1}: {text[at : at + 20]!r} was not expected")
        at = token.end()
        if token["rule"]:
            if rule is not None:
                yield rule
            rule = _Rule(token["rule"])
        elif rule is not None:
            _extend(rule, token)
    if rule is not None:
        yield rule


def _extend(rule: _Rule, token: re.Match[str]) -> None:
    body = rule.body
    if token["name"]:
        rule.references[len(body)] = token["name"]
        body.append("")
    elif token["text"] is not None:
        body.append(json.dumps("".join(_characters(token["text"]))))
    elif token["set"] is not None:
        body.append(f"/[{token['not']}{_ranges(token['set'])}]/")
    elif token["any"]:
        body.append("/(?s:.)/")
    elif token["same"]:
        if token["same"] in "|)" and (not body or body[-1] in "|("):
            body.append('""')  # an empty alternative
        body.append(token["same"])


def _body(rule: _Rule, names: Mapping[str, str]) -> str:
    words = [
        names[rule.references[place]] if place in rule.references else word for place, word in enumerate(rule.body)
    ]
    if not words or words[-1] == "|":
        words.append('""')
    return _joined(words)


def _joined(words: list[str]) -> str:
    """A repetition stands directly behind what it repeats."""
    return words[0] + "".join(word if word[0] in "*+?{" else " " + word for word in words[1:])


def _characters(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _CHARACTER.match(text, at)
        if found is None:
            raise NotGbnf(f"the escape {text[at : at + 10]!r} is incomplete")
        at = found.end()
        if digits := found[1] or found[2] or found[3]:
            yield _character(int(digits, 16))
        elif found[4]:
            if found[4] not in _ESCAPES:
                raise NotGbnf(f"the escape \\{found[4]} does not exist")
            yield _ESCAPES[found[4]]
        else:
            yield found[5]


def _character(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise NotGbnf(f"{code:#x} is no character")
    return chr(code)


def _ranges(text: str) -> str:
    """The inside of a character class, every character by its number: nothing in it can mean anything else."""
    if not text:
        raise NotGbnf("a character class is empty")
    characters = list(_characters(text))
    ranges, at = "", 0
    while at < len(characters):
        first = characters[at]
        has_end = at + 2 < len(characters) and characters[at + 1] == "-"
        last = characters[at + 2] if has_end else first
        if last < first:
            raise NotGbnf(f"the range {first}-{last} runs backwards")
        ranges += f"\\x{{{ord(first):X}}}-\\x{{{ord(last):X}}}" if has_end else f"\\x{{{ord(first):X}}}"
        at += 3 if has_end else 1
    return ranges


def _names(rules: Mapping[str, _Rule]) -> dict[str, str]:
    """What each rule is called in Lark: in capitals where it never comes back to itself."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    open_references = {name: len(rule.references) for name, rule in rules.items()}
    for name, rule in rules.items():
        for used in rule.references.values():
            users[used].append(name)
    closed = [name for name, count in open_references.items() if count == 0]
    for name in closed:  # grows while it is walked
        for user in users[name]:
            open_references[user] -= 1
            if open_references[user] == 0:
                closed.append(user)
    regular = set(closed)
    return {
        name: (f"R{number}_{_plain(name).upper()}" if name in regular else f"r{number}_{_plain(name).lower()}")
        for number, name in enumerate(rules)
    }


def _plain(name: str) -> str:
    return name.replace("-", "_")
