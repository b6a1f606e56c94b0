"""What is sent in portions becomes the model that was announced, or none."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from edged.errors import (
    ChecksumMismatch,
    Conflict,
    DiskFull,
    InvalidRequest,
    ModelInvalid,
    NotFound,
    OffsetConflict,
    QueueFull,
)
from edged.store import GUIDE, Store
from edged.store.uploads import Uploads
from tests.gguf_draft import named, straight

CONTENT = straight()
CHECKSUM = sha256(CONTENT).hexdigest()


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(Store(tmp_path / "models"), reserve_bytes=0)


def send(uploads: Uploads, id: str, content: bytes, offset: int = 0) -> None:
    with uploads.writing(id, offset) as writing:
        writing.write(content[offset : offset + 1000])
        writing.write(content[offset + 1000 :])


def files(uploads: Uploads) -> list[str]:
    return sorted(path.name for path in uploads.store.partials.iterdir())


@pytest.mark.parametrize("checksum", [CHECKSUM, ""])
def test_a_file_in_portions_becomes_a_model_when_it_is_finished(uploads: Uploads, checksum: str) -> None:
    upload = uploads.begin("a:1b", len(CONTENT), checksum)
    send(uploads, upload.id, CONTENT)
    assert [file.name for file in uploads.store.models()] == [GUIDE]
    assert [one.offset_bytes for one in uploads.list()] == [len(CONTENT)]

    file = uploads.finish(upload.id)

    assert file == uploads.store.find("a:1b")
    assert file.path.read_bytes() == CONTENT
    assert (uploads.list(), files(uploads)) == ([], [])


def test_it_goes_on_after_a_restart_where_it_was(uploads: Uploads) -> None:
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    with uploads.writing(upload.id, 0) as writing:
        writing.write(CONTENT[:5000])
    with uploads.store.partial_path(f"upload-{upload.id}").open("ab") as part:
        part.write(b"never told of")

    uploads.store.sweep()
    restarted = Uploads(Store(uploads.store.folder), reserve_bytes=0)
    assert restarted.begin("a", len(CONTENT), CHECKSUM) == restarted.find(upload.id)
    assert restarted.find(upload.id).offset_bytes == 5000
    with (
        pytest.raises(OffsetConflict, match="goes on at byte 5000, and not at 4999") as refusal,
        restarted.writing(upload.id, 4999),
    ):
        pass
    assert refusal.value.offset_bytes == 5000

    send(restarted, upload.id, CONTENT, 5000)
    assert restarted.finish(upload.id).path.read_bytes() == CONTENT


def test_a_sender_that_breaks_off_keeps_what_arrived(uploads: Uploads) -> None:
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    with suppress(ConnectionResetError), uploads.writing(upload.id, 0) as writing:
        writing.write(CONTENT[:777])
        raise ConnectionResetError

    assert uploads.find(upload.id).offset_bytes == 777
    with pytest.raises(OffsetConflict, match="777 are here"):
        uploads.finish(upload.id)


def test_other_bytes_than_announced_are_deleted(uploads: Uploads) -> None:
    other = named("bend")
    assert len(other) == len(CONTENT)
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    send(uploads, upload.id, other)

    with pytest.raises(ChecksumMismatch, match="send it again"):
        uploads.finish(upload.id)
    assert [file.name for file in uploads.store.models()] == [GUIDE]
    assert files(uploads) == []
    with pytest.raises(NotFound):
        uploads.find(upload.id)


def test_what_is_no_model_is_deleted(uploads: Uploads) -> None:
    upload = uploads.begin("a", 3000)
    send(uploads, upload.id, bytes(3000))

    with pytest.raises(ModelInvalid, match="no GGUF"):
        uploads.finish(upload.id)
    assert files(uploads) == []


def test_more_than_announced_is_refused(uploads: Uploads) -> None:
    upload = uploads.begin("a", 10, "")
    with pytest.raises(InvalidRequest, match="10 bytes that were announced"), uploads.writing(upload.id, 0) as writing:
        writing.write(bytes(11))
    assert uploads.find(upload.id).offset_bytes == 0


@pytest.mark.parametrize(
    ("name", "total", "checksum"),
    [("../a", 10, ""), ("guide", 10, ""), ("a", 0, ""), ("a", -1, ""), ("a", 10, "abc"), ("a", 10, "A" * 64)],
)
def test_announcements_that_make_no_sense_are_refused(name: str, total: int, checksum: str, uploads: Uploads) -> None:
    with pytest.raises(InvalidRequest):
        uploads.begin(name, total, checksum)
    assert not uploads.store.folder.exists()


@pytest.mark.parametrize("id", ["", "../../etc/passwd", "x" * 32, "0" * 32, "0" * 31 + "\0"])
def test_an_unknown_upload_is_none(id: str, uploads: Uploads) -> None:
    for ask in (uploads.find, uploads.finish, uploads.cancel):
        with pytest.raises(NotFound):
            ask(id)
    with pytest.raises(NotFound), uploads.writing(id, 0):
        pass


def test_one_at_a_time_writes_to_an_upload(uploads: Uploads) -> None:
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    with uploads.writing(upload.id, 0) as writing:
        writing.write(CONTENT)
        for ask in (uploads.finish, uploads.cancel):
            with pytest.raises(Conflict, match="Somebody else"):
                ask(upload.id)
        with pytest.raises(Conflict), uploads.writing(upload.id, 0):
            pass
    uploads.cancel(upload.id)
    assert files(uploads) == []


def test_a_disk_without_room_and_too_many_at_once_are_refused(uploads: Uploads) -> None:
    with pytest.raises(DiskFull):
        uploads.begin("a", 2**62)
    for number in range(8):
        uploads.begin(f"a{number}", 10)
    with pytest.raises(QueueFull):
        uploads.begin("a9", 10)


def test_a_name_is_not_taken_from_another_model(uploads: Uploads) -> None:
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    send(uploads, upload.id, CONTENT)
    uploads.finish(upload.id)

    other = named("bend")
    with pytest.raises(Conflict, match="another model named 'a'"):
        uploads.begin("a", len(other), sha256(other).hexdigest())
    unsaid = uploads.begin("a", len(other))  # it may be the same, for all that is known
    send(uploads, unsaid.id, other)
    with pytest.raises(Conflict):
        uploads.finish(unsaid.id)
    assert uploads.store.find("a").path.read_bytes() == CONTENT
    uploads.cancel(unsaid.id)

    again = uploads.begin("a", len(CONTENT), CHECKSUM)
    send(uploads, again.id, CONTENT)
    assert uploads.finish(again.id).path.read_bytes() == CONTENT
    assert files(uploads) == []


def test_a_note_that_makes_no_sense_is_no_upload(uploads: Uploads) -> None:
    upload = uploads.begin("a", len(CONTENT), CHECKSUM)
    note = uploads.store.partials / f"upload-{upload.id}.json"
    told = json.loads(note.read_text())
    for bent in ("", "{", "[]", json.dumps({**told, "offset_bytes": 99}), json.dumps({**told, "name": "../a"})):
        note.write_text(bent)
        with pytest.raises(NotFound):
            uploads.find(upload.id)
    assert uploads.list() == []
    assert uploads.begin("a", len(CONTENT), CHECKSUM).offset_bytes == 0
