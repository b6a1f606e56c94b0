"""What servers do instead of sending a file (attack groups F4 to F7): either the right file is there, or none is."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.pull.partial import file_thread
from edged.pull.progress import Progress
from edged.store import Store
from tests.hub import Fault, Hub, model, running, sha256
from tests.pull.conftest import SHORT, Bench

REPOSITORY = "maker/Small-GGUF"
NAME = f"hf.co/{REPOSITORY}:Q4_K_M"
DATA = model()
SIZE = len(DATA)


@pytest.fixture(autouse=True)
def _offered(hub: Hub) -> None:
    hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": DATA}
    hub.links["small.gguf"] = DATA


async def has_it(bench: Bench, name: str = NAME) -> bool:
    """Whether the model is installed; a blob that is not what its name says is never there."""
    blobs = list((bench.store.folder / "blobs").iterdir())
    assert all(sha256(blob.read_bytes()) == blob.name.removeprefix("sha256-") for blob in blobs)
    return name in [record.name for record in await bench.records()]


async def comes(bench: Bench, *faults: Fault, text: str = f"hf.co/{REPOSITORY}") -> Progress:
    """The pull ends well in spite of them."""
    bench.hub.faults = list(faults)
    last = await bench.pull(text)
    assert last.state == "done", last
    assert await has_it(bench, last.name)
    assert bench.partials() == []
    return last


async def fails(bench: Bench, code: str, *faults: Fault, text: str = f"hf.co/{REPOSITORY}") -> Progress:
    """The pull ends with that code, and nothing is installed."""
    bench.hub.faults = list(faults)
    last = await bench.pull(text)
    assert (last.state, last.code) == ("failed", code), last
    assert last.message
    assert await bench.records() == []
    assert list((bench.store.folder / "blobs").iterdir()) == []
    return last


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=3))
async def test_a_connection_that_breaks_off_at_any_byte_is_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    async with running() as hub:
        hub.repositories[REPOSITORY] = {"small-Q4_K_M.gguf": DATA}
        store = Store(tmp_path_factory.mktemp("cut"))
        await asyncio.to_thread(store.ready)
        await comes(Bench(hub, store), *(Fault(cut_at=cut) for cut in sorted(cuts)))
        # What has been written is not asked for again. What lay in the sockets is lost with them, however much it is.
        starts = [int(asked.headers.get("Range", "bytes=0-")[len("bytes=") : -1]) for asked in hub.fetched]
        assert starts == sorted(starts)


async def test_what_follows_a_cut_is_asked_for_by_range_and_validator(bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2))

    first, second = bench.hub.fetched
    assert "Range" not in first.headers
    assert int(second.headers["Range"].removeprefix("bytes=").removesuffix("-")) <= SIZE // 2
    assert second.headers["If-Range"] == f'"{sha256(DATA)[:16]}"'


async def test_a_changed_etag_begins_again(bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2), Fault(etag='"other"'))

    assert len(bench.hub.fetched) == 2


async def test_a_range_of_another_file_begins_again(bench: Bench) -> None:
    """A server that ignores If-Range says by its ETag that the file is another."""
    bench.hub.faults = [Fault(cut_at=SIZE // 2), Fault(headers={"ETag": '"other"'}), Fault()]

    assert (await bench.pull(f"hf.co/{REPOSITORY}")).state == "done"
    assert "Range" not in bench.hub.fetched[2].headers


async def test_a_server_that_knows_no_ranges_begins_again(bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2), Fault(ignores_range=True))


async def test_another_range_than_was_asked_for_begins_again(bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2), Fault(shifted_by=7))


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes */10", "nonsense", "bytes 5-1/3"])
async def test_a_content_range_that_makes_no_sense_begins_again(said: str, bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2), Fault(headers={"Content-Range": said}))


async def test_a_server_that_never_gets_its_ranges_right_is_given_up(bench: Bench) -> None:
    wrong = [fault for _ in range(9) for fault in (Fault(cut_at=SIZE // 2), Fault(shifted_by=7))]

    last = await fails(bench, "provider_unavailable", *wrong)
    assert "begun 4 times" in last.message


@pytest.mark.parametrize("by", [1, -1, 10**13])
async def test_another_length_than_announced_is_refused_before_anything_is_written(by: int, bench: Bench) -> None:
    bench.hub.announced_bytes = lambda size: size - by if by < 2 else size

    last = await fails(bench, "provider_unavailable", Fault(longer_by=by if by > 1 else 0))
    assert "announced" in last.message
    assert [path.stat().st_size for path in bench.partials()] == [0]


async def test_a_wrong_checksum_leaves_nothing_behind_but_that_it_failed(bench: Bench) -> None:
    bench.hub.announces = lambda digest: "f" * 64

    last = await fails(bench, "checksum_mismatch")
    assert sha256(DATA) in last.message
    assert [path.name for path in bench.store.partials.iterdir()] == ["queue.json"]
    assert len(bench.hub.fetched) == 1


async def test_right_size_and_wrong_bytes_leave_nothing_behind(bench: Bench) -> None:
    await fails(bench, "checksum_mismatch", Fault(bent_at=SIZE - 9))

    assert bench.partials() == []


async def test_a_hub_that_has_another_file_by_now_is_noticed_before_it_is_fetched(bench: Bench) -> None:
    bench.hub.linked_etag = "e" * 64

    last = await fails(bench, "checksum_mismatch")
    assert last.done_bytes == 0


async def test_wrong_bytes_in_one_of_several_goes_cost_one_more(bench: Bench) -> None:
    await comes(bench, Fault(cut_at=SIZE // 2, bent_at=SIZE // 3), Fault(), Fault())

    assert "Range" not in bench.hub.fetched[2].headers


async def test_a_server_that_falls_silent_is_asked_again(bench: Bench) -> None:
    await comes(bench, Fault(stall_at=SIZE // 2))


async def test_a_server_that_always_falls_silent_is_given_up_and_what_came_is_kept(bench: Bench) -> None:
    stalls = [Fault(stall_at=SIZE // 2), *[Fault(stall_at=SIZE // 2 + more) for more in range(1, 9)]]

    last = await fails(bench, "provider_unavailable", *stalls)
    assert "without getting on" in last.message
    assert len(bench.hub.fetched) == 1 + SHORT.attempts
    assert [path.stat().st_size for path in bench.partials()] == [SIZE // 2 + SHORT.attempts]

    await comes(bench)
    assert bench.hub.fetched[-1].headers["Range"] == f"bytes={SIZE // 2 + SHORT.attempts}-"


async def test_a_byte_a_second_is_no_speed(bench: Bench) -> None:
    last = await fails(bench, "provider_unavailable", *[Fault(bytes_per_s=20)] * 9)
    assert "1024 bytes a second" in last.message


async def test_getting_on_renews_the_patience(bench: Bench) -> None:
    cuts = [Fault(cut_at=2**19 * number) for number in range(1, 6)]
    assert len(cuts) > SHORT.attempts

    await comes(bench, *cuts)


async def test_an_endless_body_ends_where_the_file_does(bench: Bench) -> None:
    last = await comes(bench, Fault(is_endless=True))
    assert last.done_bytes == SIZE


async def test_an_endless_body_behind_a_link_is_refused_at_once(bench: Bench) -> None:
    last = await fails(bench, "provider_unavailable", Fault(is_endless=True), text=f"{bench.hub.files_url}/small.gguf")
    assert "how long" in last.message


async def test_a_page_in_place_of_a_file_is_refused(bench: Bench) -> None:
    page = b"<!doctype html><title>Sign in</title>".ljust(SIZE)

    last = await fails(bench, "model_invalid", Fault(body=page), text=f"{bench.hub.files_url}/small.gguf")
    assert "it begins with '<!do'" in last.message
    assert bench.partials() == []


async def test_a_malformed_header_is_refused_after_the_first_mebibyte(bench: Bench) -> None:
    bench.hub.links["bent.gguf"] = DATA[:8] + b"\xff" * 8 + DATA[16:]

    await fails(bench, "model_invalid", Fault(stall_at=2**20 + 2**17), text=f"{bench.hub.files_url}/bent.gguf")


@pytest.mark.parametrize("status", [429, 503, 500, 502, 408])
async def test_a_server_that_is_busy_is_asked_again(status: int, bench: Bench) -> None:
    await comes(bench, Fault(status=status), Fault(status=status, headers={"Retry-After": "0"}))


async def test_a_server_says_when_to_come_back(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await comes(bench, Fault(status=503, headers={"Retry-After": "1"}))

    assert loop.time() - began_s >= 1.0


@pytest.mark.parametrize(
    ("status", "code"), [(404, "model_not_found"), (403, "provider_auth"), (400, "provider_unavailable")]
)
async def test_what_will_not_change_is_not_tried_again(status: int, code: str, bench: Bench) -> None:
    await fails(bench, code, Fault(status=status))

    assert len(bench.hub.fetched) == 1


async def test_a_compressed_answer_is_refused(bench: Bench) -> None:
    await fails(bench, "provider_unavailable", Fault(headers={"Content-Encoding": "gzip"}))


async def test_redirects_in_a_circle_end(bench: Bench) -> None:
    there = f"{bench.hub.files_url}/small.gguf"
    last = await fails(bench, "provider_unavailable", *[Fault(redirect=there)] * 20, text=there)
    assert "redirects more than" in last.message


def resumed(bench: Bench, kept: bytes, note: str) -> Path:
    """A partial from an earlier run."""
    path = bench.store.partial_path(sha256(DATA))
    path.write_bytes(kept)
    path.with_suffix(".json").write_text(note)
    return path


def note_of(safe_bytes: int) -> str:
    return f'{{"url": "", "etag": null, "size_bytes": {SIZE}, "safe_bytes": {safe_bytes}}}'


async def test_a_partial_of_an_earlier_run_is_gone_on_with(bench: Bench) -> None:
    resumed(bench, DATA[: SIZE // 2], note_of(SIZE // 2))
    await comes(bench)

    assert bench.hub.fetched[0].headers["Range"] == f"bytes={SIZE // 2}-"


async def test_only_what_was_brought_to_the_disk_is_gone_on_with(bench: Bench) -> None:
    resumed(bench, DATA[: SIZE // 4] + bytes(SIZE // 4), note_of(SIZE // 4))
    await comes(bench)

    assert bench.hub.fetched[0].headers["Range"] == f"bytes={SIZE // 4}-"


async def test_a_whole_partial_is_fetched_no_more(bench: Bench) -> None:
    resumed(bench, DATA, note_of(SIZE))
    await comes(bench)

    assert bench.hub.fetched == []


@pytest.mark.parametrize(
    ("kept", "note"),
    [
        (b"x" * (SIZE // 2), note_of(SIZE // 2)),
        (DATA + b"more", note_of(SIZE + 4)),
        (DATA[:100], note_of(SIZE // 2)),
        (DATA[:100], "{}"),
        (DATA[:100], "[1"),
        (DATA[:100], note_of(-5)),
        (b"", note_of(0)),
        (b"y" * SIZE, note_of(SIZE)),
    ],
    ids=[
        "other bytes",
        "larger than the file",
        "shorter than noted",
        "no note",
        "half a note",
        "less",
        "empty",
        "bent",
    ],
)
async def test_a_damaged_partial_costs_one_more_fetch_and_no_model(kept: bytes, note: str, bench: Bench) -> None:
    resumed(bench, kept, note)

    await comes(bench)


async def test_a_link_without_a_validator_is_not_gone_on_with(bench: Bench) -> None:
    """Nothing would tell whether both halves are of one file."""
    weak = {"ETag": 'W/"weak"'}
    text = f"{bench.hub.files_url}/small.gguf"
    await comes(bench, Fault(cut_at=SIZE // 2, headers=weak), Fault(headers=weak), text=text)

    assert ["Range" in seen.headers for seen in bench.hub.fetched] == [False, False]


async def test_a_link_with_a_checksum_is_verified(bench: Bench) -> None:
    text = f"{bench.hub.files_url}/small.gguf"
    wrong = await bench.pull(text, sha256="a" * 64)
    assert (wrong.state, wrong.code) == ("failed", "checksum_mismatch")

    right = await bench.pull(text, sha256=sha256(DATA).upper())
    assert (right.state, right.name) == ("done", "small")


async def test_more_than_the_disk_holds_is_refused_before_it_is_fetched(bench: Bench) -> None:
    bench.hub.announced_bytes = lambda _: 10**13

    last = await fails(bench, "disk_full")
    assert "10,000,000.0 MB" in last.message
    assert bench.hub.fetched == []


async def test_the_reserve_stays_free(bench: Bench) -> None:
    bench.hub.faults = []
    last = await bench.pull(f"hf.co/{REPOSITORY}", reserve_bytes=2**49)

    assert (last.code, bench.hub.fetched) == ("disk_full", [])


async def test_files_are_read_and_written_below_everything_else() -> None:
    with file_thread() as thread:
        niceness = thread.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert niceness == 19
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19
