"""What `edged trust` shows, and that a camera could read it."""

from __future__ import annotations

from typing import Any

from edged.commands.trust import code, picture
from edged.console import terminal

BODY: dict[str, Any] = {
    "https": ["https://kitchen:8443"],
    "names": ["kitchen"],
    "left_out": [],
    "expires": "2027-01-01",
    "authority": {
        "url": "http://192.168.1.5:8080/ca.crt",
        "certificate": "-----BEGIN CERTIFICATE-----",
        "fingerprint_sha256": "12:AB:CD:34",
        "expires": "2036-11-01",
    },
}


def shown(body: dict[str, Any]) -> str:
    console = terminal()
    console.width = 120
    with console.capture() as captured:
        console.print(picture(body))
    return captured.get()


def test_a_person_sees_where_it_is_how_long_it_holds_and_what_to_compare() -> None:
    said = shown(BODY)

    for word in ("https://kitchen:8443", "http://192.168.1.5:8080/ca.crt", "12:AB:CD:34", "2027-01-01", "2036-11-01"):
        assert word in said
    assert "not for" not in said
    assert "cellar" in shown({**BODY, "left_out": ["cellar"]})


def test_a_certificate_of_the_owners_needs_no_code() -> None:
    said = shown({**BODY, "authority": None})

    assert "nothing to install" in said
    assert "█" not in said


def test_the_code_is_square_with_a_margin_and_has_its_three_corners() -> None:
    lines = code("http://192.168.1.5:8080/ca.crt").splitlines()
    dark = [[mark in halves for mark in line] for line in lines for halves in ("█▀", "█▄")]
    width = len(lines[0])

    assert {len(line) for line in lines} == {width}
    assert len(dark) - width in (0, 1)
    assert not any(any(row) for row in (*dark[:4], *dark[width - 4 :]))
    assert not any(row[column] for row in dark for column in (0, 1, 2, 3, -1, -2, -3, -4))
    finder = [
        "1111111",
        "1000001",
        "1011101",
        "1011101",
        "1011101",
        "1000001",
        "1111111",
    ]  # ISO/IEC 18004
    for top, left in ((4, 4), (4, width - 11), (width - 11, 4)):
        assert ["".join(str(int(dark[top + y][left + x])) for x in range(7)) for y in range(7)] == finder
