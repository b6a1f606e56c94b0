"""Whom a request comes from: the other end of the connection, and behind the owner's proxies whom they have seen."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.api.transport import behind, is_within

PROXIES = (ip_network("10.0.0.0/30"), ip_network("fd00::/64"))
PROXY, INNER, CALLER = "10.0.0.1", "fd00::2", "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded_for", "whom"),
    [
        (CALLER, CALLER),
        (f"127.0.0.1, {CALLER}", CALLER),
        (f"127.0.0.1, {CALLER}, {INNER}", CALLER),
        (f"::ffff:{CALLER}", CALLER),
        (f"{INNER}", INNER),
        ("", PROXY),
        ("unknown", PROXY),
        (f"{CALLER}, _hidden", PROXY),
        (f"{CALLER}, unknown, {INNER}", INNER),
    ],
)
def test_the_last_one_that_is_no_proxy_has_asked(forwarded_for: str, whom: str) -> None:
    assert behind(PROXY, forwarded_for, PROXIES) == whom


@given(st.text(), st.ip_addresses().filter(lambda ip: not is_within(str(ip), PROXIES)))
def test_what_a_caller_writes_in_front_changes_nothing(written: str, caller: object) -> None:
    plain = behind(PROXY, str(caller), PROXIES)

    assert behind(PROXY, f"{written},{caller}", PROXIES) == plain


def test_an_ipv4_address_in_ipv6_is_itself() -> None:
    assert is_within("::ffff:10.0.0.2", PROXIES)
    assert not is_within("::ffff:10.0.0.4", PROXIES)
    assert not is_within("", PROXIES)
