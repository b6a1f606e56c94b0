"""When, how fast and how long: properties of arithmetic on clocks."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.pull.pace import Allowance, Crawl, Patience, QuietHours, backoff_s
from edged.pull.progress import Speed

DAY = datetime(2026, 11, 23)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 2)), max_size=60), st.integers(16_384, 10**7))
def test_whoever_waits_as_told_never_gets_more_than_a_second_ahead(
    takes: list[tuple[int, float]], bytes_per_s: int
) -> None:
    allowance, now_s, taken = Allowance(bytes_per_s, at_s=0.0), 0.0, 0
    for count, idle_s in takes:
        now_s += idle_s
        allowance, wait_s = allowance.take(count, now_s)
        now_s, taken = now_s + wait_s, taken + count
        assert taken <= bytes_per_s * (now_s + 1.0) + 1


def test_without_a_cap_nobody_waits() -> None:
    assert Allowance(None).take(10**12, 5.0) == (Allowance(None), 0.0)


@pytest.mark.parametrize(
    ("spans", "now", "until"),
    [
        (["22:00-06:00"], "21:59", None),
        (["22:00-06:00"], "22:00", "30:00"),
        (["22:00-06:00"], "05:59", "06:00"),
        (["22:00-06:00"], "06:00", None),
        (["12:00-13:00"], "12:30", "13:00"),
        (["12:00-13:00", "13:00-14:30"], "12:30", "14:30"),
        (["22:00-02:00", "01:00-07:00"], "23:00", "31:00"),
        (["00:00-00:00"], "08:00", "24:00"),
        ([], "12:00", None),
    ],
)
def test_quiet_hours_end_when_they_say(spans: list[str], now: str, until: str | None) -> None:
    def at(text: str) -> datetime:
        hours, minutes = map(int, text.split(":"))
        return DAY + timedelta(hours=hours, minutes=minutes)

    assert QuietHours.parse(spans).until(at(now)) == (at(until) if until else None)


times = st.times().map(lambda at: f"{at:%H:%M}")


@given(st.lists(st.builds(lambda begin, end: f"{begin}-{end}", times, times), max_size=4), st.integers(0, 1439))
def test_quiet_hours_are_never_over_before_now_nor_beyond_two_days(spans: list[str], minute: int) -> None:
    now = DAY + timedelta(minutes=minute)
    until = QuietHours.parse(spans).until(now)
    assert until is None or now < until <= now + timedelta(days=2)


def test_waits_double_and_what_a_server_asks_for_counts_within_bounds() -> None:
    patience = Patience()

    assert [backoff_s(patience, failures) for failures in range(1, 7)] == [1, 2, 4, 8, 16, 32]
    assert backoff_s(patience, 1, 30.0) == 30.0
    assert backoff_s(patience, 6, 10**6) == 600.0
    assert sum(backoff_s(patience, failures, is_unreachable=True) for failures in range(1, 7)) == pytest.approx(504)


def test_a_crawl_is_noticed_after_a_window_and_not_before() -> None:
    patience = Patience(window_s=60.0, least_bytes_per_s=1000)
    crawl = Crawl()
    for _ in range(59):
        crawl = crawl.after(1.0, 1, patience)
        assert not crawl.is_too_slow(patience)
    assert crawl.after(1.0, 1, patience).is_too_slow(patience)


def test_a_window_that_brought_enough_begins_a_new_one() -> None:
    patience = Patience(window_s=60.0, least_bytes_per_s=1000)
    assert Crawl(59.0, 60_000).after(1.0, 1, patience) == Crawl()


def test_speed_is_an_average_that_forgets() -> None:
    speed = Speed()
    for second in range(1, 40):
        speed = speed.at(float(second), min(second, 20) * 1000)
    assert speed.bytes_per_s is not None
    assert speed.bytes_per_s < 50
    assert Speed(1000.0, 1.0, 5000).eta_s(25_000) == 20.0
    assert Speed(None, 1.0, 0).eta_s(10) is None
    assert Speed(10.0, 5.0, 500).at(7.0, 100).bytes_per_s is None  # begun again
