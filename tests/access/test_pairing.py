"""A code lets one in, bears five wrong tries, and guessing is paused for longer and longer."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edged.access import pairing
from edged.access.pairing import LIFE_S, MOST_CODES, TRIES, Code, Pairing, attempt, offer
from edged.errors import InvalidRequest, RateLimited

WRONG = [b"wrong"]
SHOWN = "7K2M-QX9D"


def code(name: str, until_s: float = LIFE_S) -> Code:
    return Code(name.encode(), "owner", until_s, name)


def wrong(state: Pairing, now_s: float, times: int) -> Pairing:
    for _ in range(times):
        state, found = attempt(state, WRONG, now_s)
        assert found is None
    return state


def refused_for_s(state: Pairing, now_s: float) -> float:
    with pytest.raises(RateLimited) as refused:
        attempt(state, WRONG, now_s)
    return refused.value.retry_after_s


class Guessing(RuleBasedStateMachine):
    """Somebody tries, somebody shows codes, and time passes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Pairing()
        self.now_s = 0.0
        self.count = 0
        self.born_s: dict[str, float] = {}
        self.wrong: dict[str, int] = {}  # tries that each code has borne, since the last pause for a preset one
        self.used: set[str] = set()
        self.has_preset = False

    @initialize(is_preset=st.booleans())
    def printed(self, is_preset: bool) -> None:
        if is_preset:
            self.state = Pairing((code("preset", math.inf),))
            self.wrong["preset"], self.has_preset = 0, True

    @rule()
    def show(self) -> None:
        self.count += 1
        name = str(self.count)
        self.born_s[name], self.wrong[name] = self.now_s, 0
        self.state = offer(self.state, code(name, self.now_s + LIFE_S), self.now_s)
        assert self.state.paused_until_s <= self.now_s

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 599.0, 601.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def guess(self) -> None:
        bearing = [known.name for known in self.state.codes if known.until_s > self.now_s]
        try:
            self.state, found = attempt(self.state, WRONG, self.now_s)
        except RateLimited:
            assert self.now_s < self.state.paused_until_s <= self.now_s + 3600
            return
        assert found is None
        for name in bearing:
            self.wrong[name] += 1
            assert self.wrong[name] <= TRIES
        if self.state.paused_until_s > self.now_s:
            self.wrong["preset"] = 0

    @rule(number=st.integers(0, 20))
    def enter(self, number: int) -> None:
        name = str(number) if number else "preset"
        before = self.state
        try:
            self.state, found = attempt(self.state, [name.encode()], self.now_s)
        except RateLimited:
            assert self.now_s < before.paused_until_s
            return
        if found is None:
            for known in before.codes:
                if known.until_s > self.now_s:
                    self.wrong[known.name] += 1
            if self.state.paused_until_s > self.now_s:
                self.wrong["preset"] = 0
            return
        assert found.name == name
        assert name not in self.used
        assert name == "preset" or self.now_s < self.born_s[name] + LIFE_S
        self.used.add(name)

    @invariant()
    def there_are_few_codes_and_none_that_was_used_or_worn_out(self) -> None:
        names = [known.name for known in self.state.codes]
        assert len(names) == len(set(names)) <= MOST_CODES + 1
        assert not self.used & set(names)
        assert all(0 < known.tries <= TRIES for known in self.state.codes)
        assert ("preset" in names) == (self.has_preset and "preset" not in self.used)


Guessing.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestGuessing = Guessing.TestCase


def test_the_fifth_wrong_try_ends_every_code_and_pauses() -> None:
    state = wrong(Pairing((code("a"), code("b"))), 0.0, 5)
    assert state.codes == ()
    assert refused_for_s(state, 0.0) == 60

    fresh, found = attempt(state, [b"a"], 60.0)
    assert (found, fresh.has_code(60.0)) == (None, False)


def test_four_wrong_tries_leave_the_right_one() -> None:
    state = wrong(Pairing((code("a"),)), 0.0, 4)
    state, found = attempt(state, [b"a"], 0.0)
    assert (found and found.name, state) == ("a", Pairing())


def test_pauses_double_up_to_an_hour_and_never_end_in_a_number_too_large() -> None:
    state, now_s, pauses = Pairing((code("preset", math.inf),)), 0.0, []
    for _ in range(8):
        state = wrong(state, now_s, 5)
        pauses.append(refused_for_s(state, now_s))
        now_s = state.paused_until_s
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]

    state = wrong(replace(state, pauses=5000), now_s, 5)
    assert refused_for_s(state, now_s) == 3600


def test_in_a_pause_even_the_right_code_is_refused_and_a_new_one_ends_it() -> None:
    state = wrong(Pairing((code("preset", math.inf),)), 0.0, 5)
    with pytest.raises(RateLimited):
        attempt(state, [b"preset"], 59.0)
    assert attempt(state, [b"preset"], 60.0)[1] is not None

    state = offer(state, code("new"), 1.0)
    assert attempt(state, [b"new"], 1.0)[1] is not None


def test_the_owner_who_shows_a_code_does_not_forget_how_often_was_guessed() -> None:
    state = offer(wrong(Pairing((code("a"),)), 0.0, 5), code("b"), 0.0)
    assert refused_for_s(wrong(state, 0.0, 5), 0.0) == 120


@given(st.floats(0, 1e12))
def test_a_preset_code_never_expires(now_s: float) -> None:
    state = Pairing((code("preset", math.inf), code("shown")))
    assert attempt(state, [b"preset"], now_s)[1] is not None
    assert pairing.without_presets(state).codes == (code("shown"),)


def test_a_code_lives_for_ten_minutes() -> None:
    state = Pairing((code("a"),))
    assert attempt(state, [b"a"], LIFE_S - 0.01)[1] is not None
    assert attempt(state, [b"a"], LIFE_S)[1] is None


@given(st.lists(st.sampled_from(list(range(6))), min_size=1, max_size=30))
def test_however_often_a_code_is_entered_it_opens_once(order: list[int]) -> None:
    state, found = Pairing((code("0"), code("1"))), []
    for number in order:
        try:
            state, entered = attempt(state, [str(number).encode()], 0.0)
        except RateLimited:
            break
        found += [entered.name] if entered else []
    assert len(found) == len(set(found))


@pytest.mark.parametrize("typed", [SHOWN, "7k2mqx9d", " 7K2M QX9D ", "7K-2M-QX-9D"])
def test_a_code_may_be_typed_as_people_type(typed: str) -> None:
    assert pairing.digest_of(typed) == pairing.digest_of(SHOWN)


def test_digits_that_look_alike_mean_the_same() -> None:
    assert pairing.digest_of("OIL0-1111") == pairing.digest_of("0110-1111")


@given(st.text(max_size=12))
def test_any_text_is_a_code_or_is_told_to_be_none(typed: str) -> None:
    with suppress(InvalidRequest):
        assert len(pairing.digest_of(typed)) == 32


def test_codes_are_what_can_be_typed_and_no_two_are_the_same() -> None:
    codes = {pairing.new_code() for _ in range(500)}
    assert len(codes) == 500
    assert {len(pairing.digest_of(text)) for text in codes} == {32}


def test_a_preset_code_is_known_by_its_hash_alone() -> None:
    hashed = pairing.preset_hash(SHOWN)
    salt, digest = pairing.preset(hashed)

    assert pairing.preset_digest("7k2m qx9d", salt) == digest
    assert pairing.preset_digest("7K2M-QX9E", salt) != digest
    assert pairing.preset_hash(SHOWN) != hashed
