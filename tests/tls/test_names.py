"""What a certificate of the device's own may say of it."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from edged.tls.names import PRIVATE, Names, is_host_name, names_of, of_this_device

LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))


def test_a_device_has_its_names_and_its_private_addresses() -> None:
    found = ["192.168.1.5", "fe80::1%eth0", "fd00::7%eth0", "2001:db8::1", "203.0.113.9", "b8:27:eb:00:00:01"]

    names = names_of(["Kitchen", "kitchen.local", "kitchen"], found)

    assert names.dns == ("kitchen", "kitchen.local", "localhost")
    assert names.addresses == (*LOOPBACK, ip_address("192.168.1.5"), ip_address("fd00::7"))


def test_what_the_owner_lists_need_not_be_a_name() -> None:
    listed = ["box.lan", "192.168.1.5", "[::1]", "box:8080", "näme.lan", "-box", "", "*.lan", "a" * 64, "under_score"]

    assert names_of(listed, []).dns == ("box.lan", "under_score", "localhost")


def test_this_machine_is_called_something() -> None:
    names = of_this_device({"edged.local"})

    assert {"edged.local", "localhost"} <= set(names.dns)
    assert set(LOOPBACK) <= set(names.addresses)


def test_what_is_lacking_is_what_the_other_has_not() -> None:
    old, new = names_of(["a", "b"], ["10.0.0.1"]), names_of(["b", "c"], ["10.0.0.1", "10.0.0.2"])

    assert new.beyond(old) == Names(("c",), (ip_address("10.0.0.2"),))
    assert not new.beyond(new)


@given(st.ip_addresses().map(str))
def test_no_public_address_is_ever_among_them(address: str) -> None:
    for one in names_of([], [address]).addresses:
        assert any(one.version == network.version and one in network for network in PRIVATE)
        assert not one.is_global


@given(st.text(max_size=70))
def test_a_host_name_is_ascii_and_fits_its_labels(text: str) -> None:
    if is_host_name(text):
        assert text.isascii()
        assert all(0 < len(label) <= 63 for label in text.split("."))
