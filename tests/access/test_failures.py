"""Who fails too often is told so, each by themselves, and memory stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.access.failures import Failures, group_of
from edged.errors import RateLimited, Unauthorized


class Clock:
    now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


def outcomes(failures: Failures, address: str, count: int) -> list[type[Exception]]:
    return [type(failures.refusal(address, "No.")) for _ in range(count)]


def test_twenty_a_minute_are_told_what_is_wrong_and_the_next_one_when_to_come_back() -> None:
    clock = Clock()
    failures = Failures(clock)
    assert outcomes(failures, "192.0.2.1", 21) == [Unauthorized] * 20 + [RateLimited]

    refusal = failures.refusal("192.0.2.1", "No.")
    assert isinstance(refusal, RateLimited)
    clock.now_s += refusal.retry_after_s + 2
    assert outcomes(failures, "192.0.2.1", 1) == [Unauthorized]


def test_one_who_fails_does_not_use_up_anothers_tries() -> None:
    failures = Failures(Clock())
    outcomes(failures, "192.0.2.1", 500)
    assert outcomes(failures, "192.0.2.2", 1) == [Unauthorized]


def test_many_addresses_together_have_a_bound() -> None:
    failures = Failures(Clock())
    found = [outcome for number in range(700) for outcome in outcomes(failures, f"2001:db8:0:{number:x}::1", 1)]
    assert found == [Unauthorized] * 600 + [RateLimited] * 100


def test_the_addresses_of_one_ipv6_host_count_together() -> None:
    failures = Failures(Clock())
    found = [outcome for number in range(21) for outcome in outcomes(failures, f"2001:db8::{number:x}", 1)]
    assert found[-1] is RateLimited


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("@abstract", ""),
    ],
)
def test_a_group_is_what_a_host_has_to_itself(address: str, group: str) -> None:
    assert group_of(address) == group


@given(st.text())
def test_any_address_has_a_group(address: str) -> None:
    assert isinstance(group_of(address), str)


def test_however_many_addresses_fail_a_thousand_are_remembered() -> None:
    clock = Clock()
    failures = Failures(clock)
    for number in range(3000):
        clock.now_s += 1
        failures.refusal(f"10.0.{number // 256}.{number % 256}", "No.")
    assert len(failures._of_group) <= 1024
