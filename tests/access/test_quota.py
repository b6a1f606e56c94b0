"""A quota admits as much as it says and tells when there is more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.access.people import Quota
from edged.access.quota import DAY_S, Used, admitted, charged, full
from edged.errors import RateLimited

times = st.floats(0, 1e9, allow_nan=False)


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_a_bucket_gives_what_it_holds_and_what_came_since_and_never_more(most: int, gaps_s: list[float]) -> None:
    bucket, now_s, given_away = full(most, 60.0, 0.0), 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        try:
            bucket = bucket.taken(now_s)
        except RateLimited:
            continue
        given_away += 1
        assert given_away <= most + now_s * most / 60 + 1e-6


@given(st.integers(1, 1000), times)
def test_who_comes_back_when_told_is_admitted(most: int, now_s: float) -> None:
    bucket = full(most, 60.0, now_s)
    for _ in range(most):
        bucket = bucket.taken(now_s)
    with pytest.raises(RateLimited) as refused:
        bucket.taken(now_s)
    assert 1 <= refused.value.retry_after_s <= 60
    bucket.taken(now_s + refused.value.retry_after_s + 1e-3)


@given(st.integers(1, 100), times, times)
def test_a_clock_that_is_set_locks_nobody_out_for_longer_than_a_refill(
    most: int, before_s: float, set_s: float
) -> None:
    bucket = full(most, 60.0, before_s)
    for _ in range(most):
        bucket = bucket.taken(before_s)
    bucket.taken(set_s + 60.001 if set_s >= before_s else set_s)


@given(st.integers(1, 20), times)
def test_a_day_has_as_many_requests_as_it_says_and_the_next_one_again(most: int, now_s: float) -> None:
    quota, used = Quota(requests_per_day=most), Used()
    for _ in range(most):
        used = admitted(quota, used, now_s)
    with pytest.raises(RateLimited, match=f"{most} requests a day") as refused:
        admitted(quota, used, now_s)
    assert refused.value.retry_after_s <= DAY_S
    assert admitted(quota, used, now_s + refused.value.retry_after_s + 1e-3).requests == 1


@given(st.integers(1, 10_000), st.lists(st.integers(0, 5000), max_size=20), times)
def test_tokens_are_admitted_until_they_are_used(most: int, costs: list[int], now_s: float) -> None:
    quota, used, spent = Quota(tokens_per_day=most), Used(), 0
    for cost in costs:
        if spent >= most:
            with pytest.raises(RateLimited, match=f"{most} tokens a day, and has used {spent}"):
                admitted(quota, used, now_s)
            return
        used = charged(admitted(quota, used, now_s), cost, now_s)
        spent += cost
    assert used.tokens == spent


def test_a_refused_request_costs_nothing() -> None:
    quota = Quota(requests_per_minute=1, requests_per_day=5)
    used = admitted(quota, Used(), 0.0)
    with pytest.raises(RateLimited, match="1 requests a minute"):
        admitted(quota, used, 0.0)
    assert admitted(quota, used, 61.0).requests == 2


def test_a_clock_that_is_set_back_begins_no_new_day() -> None:
    quota = Quota(requests_per_day=1)
    used = admitted(quota, Used(), 10 * DAY_S)
    with pytest.raises(RateLimited):
        admitted(quota, used, 9 * DAY_S)


def test_a_limit_that_the_owner_changes_counts_at_once() -> None:
    used = admitted(Quota(requests_per_minute=1), Used(), 0.0)
    wider = admitted(Quota(requests_per_minute=5), used, 0.0)
    assert wider.minute is not None
    assert (wider.minute.most, wider.minute.level) == (5, 4)


def test_without_a_quota_nothing_is_refused() -> None:
    used = replace(Used(), requests=10**9, tokens=10**12)
    assert Quota().is_unlimited
    assert admitted(Quota(), used, 0.0).requests == 10**9 + 1
