"""A credential is read whole or not at all, and tells nobody its secret."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.access.credential import Kind, is_ours, issue, read, same

KINDS: tuple[Kind, ...] = ("edk", "edt", "eds")
GOOD = f"edk_{'0' * 16}_{'a' * 48}"
HEX = "0123456789abcdef" * 4
nearly = st.builds(
    lambda before, kind, id, secret, after: f"{before}{kind}_{HEX[:id]}_{HEX[:secret]}{after}",
    *(st.sampled_from(choice) for choice in (("", " ", "x"), ("edk", "edt", "eds", "edx", "EDK"))),
    *(st.sampled_from(choice) for choice in ((15, 16, 17), (47, 48, 49), ("", "\n", "0", "_"))),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_issued_is_read_as_what_it_is(kind: Kind) -> None:
    issued = issue(kind)
    credential = read(issued.text)

    assert credential == issued.credential
    assert credential is not None
    assert (credential.kind, is_ours(issued.text)) == (kind, True)
    assert same(credential.digest, issued.credential.digest)


@given(st.one_of(st.text(), nearly))
@example(GOOD + "\n")
@example(" " + GOOD)
@example(GOOD.replace("0", "٠"))  # an Arabic digit
@example(GOOD.upper())
def test_any_text_is_read_only_if_it_is_well_formed_from_end_to_end(text: str) -> None:
    is_whole = re.match(r"\Aed[kts]_[0-9a-f]{16}_[0-9a-f]{48}\Z", text) is not None
    assert (read(text) is not None) == is_whole
    assert is_ours(text) or not is_whole


def test_each_has_a_secret_of_its_own_and_a_renewed_one_the_same_id() -> None:
    first = issue("eds")
    second = issue("eds", first.credential.id)

    assert first.credential.id == second.credential.id
    assert first.text != second.text
    assert not same(first.credential.digest, second.credential.digest)


def test_nothing_that_is_printed_tells_the_secret() -> None:
    issued = issue("edk")
    secret = issued.text.rpartition("_")[2]

    for shown in (repr(issued), str(issued), repr(issued.credential), f"{issued}"):
        assert secret not in shown
        assert issued.credential.digest.hex() not in shown


@pytest.mark.parametrize("text", ["sk-proj-abc", "", "hf_abc", "Bearer x", " edk_"])
def test_other_servers_keys_are_none_of_ours(text: str) -> None:
    assert not is_ours(text)
