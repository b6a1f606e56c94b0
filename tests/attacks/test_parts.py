"""Files that belong to a model and are none, in a model's place (G16): each is refused as what it is.

A smaller model that guesses ahead is examined like any other; whatever is wrong with it, the larger one answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asking import post
from tests.attacks.enduring import asking, refused
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, running
from tests.gguf_draft import BOOL, STRING, U16, Draft, Tensor, one
from tests.malformed import BENT


def _projector() -> Draft:
    """As llama.cpp's converters write them: no tokenizer, and its own architecture."""
    draft = Draft(tensors=[Tensor("v.patch_embd.weight", (64, 64)), Tensor("mm.0.weight", (64, 64), kind=1)])
    draft.entries = {
        "general.architecture": one(STRING, "clip"),
        "general.type": one(STRING, "mmproj"),
        "clip.has_vision_encoder": one(BOOL, True),
    }
    return draft


def _adapter() -> Draft:
    draft = Draft(
        tensors=[Tensor("blk.0.attn_q.weight.lora_a", (64, 8)), Tensor("blk.0.attn_q.weight.lora_b", (8, 64))]
    )
    draft.entries = {
        "general.architecture": one(STRING, "llama"),
        "general.type": one(STRING, "adapter"),
        "adapter.type": one(STRING, "lora"),
    }
    return draft


def _of_type(kind: str) -> Draft:
    draft = Draft()
    draft.entries["general.type"] = one(STRING, kind)
    return draft


def _vocabulary() -> Draft:
    return Draft(tensors=[])


def _bent(draft: Draft) -> bytes:
    draft.tensors[0].offset = 2**64 - 32
    return draft.written()


def _cut_off(draft: Draft) -> bytes:
    return draft.header()[:-10]


PARTS = {
    "projector": (_projector().written(), "it is a projector, with which another model sees or hears"),
    "adapter": (_adapter().written(), r"it is an adapter \(LoRA\), which changes another model"),
    "imatrix": (_of_type("imatrix").written(), "it is a file of the type 'imatrix'"),
    "vocabulary": (_vocabulary().written(), "it is a vocabulary and not a model"),
    "bent-projector": (_bent(_projector()), "begins at byte 18446744073709551584"),
    "bent-adapter": (_bent(_adapter()), "begins at byte 18446744073709551584"),
    "cut-projector": (_cut_off(_projector()), "cut off"),
    "cut-adapter": (_cut_off(_adapter()), "cut off"),
}


def _piece(number: int, count: int) -> bytes:
    draft = Draft()
    draft.entries |= {"split.no": one(U16, number), "split.count": one(U16, count)}
    return draft.written()


PIECES = {"one-of-65535": _piece(0, 65535), "the-last-of-65535": _piece(65534, 65535), "second-of-two": _piece(1, 2)}


@pytest.fixture(scope="module")
def daemon(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder, models = tmp_path_factory.mktemp("parts"), {"tiny": tiny}
    for name, content in {**{name: part for name, (part, _) in PARTS.items()}, **PIECES}.items():
        models[name] = folder / name
        models[name].write_bytes(content)
    with running(models, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        yield daemon


@pytest.mark.parametrize("name", PARTS)
def test_g16_a_part_is_refused_as_what_it_is(daemon: DaemonProcess, name: str) -> None:
    reply = refused(daemon, asking(name))

    assert (reply.status, reply.error["code"]) == (422, "model_invalid")
    assert re.search(PARTS[name][1], reply.error["message"])


@pytest.mark.parametrize("name", PIECES)
def test_g16_a_piece_alone_is_no_model(daemon: DaemonProcess, name: str) -> None:
    reply = refused(daemon, asking(name))

    assert (reply.status, reply.error["code"]) == (422, "model_invalid")
    assert "piece" in reply.error["message"] or "files" in reply.error["message"]


def test_g16_nobody_offers_a_part_to_anybody(daemon: DaemonProcess) -> None:
    """Listed with what is wrong, so that its owner sees it; able to do nothing, so that no program chooses it."""
    listed = {model["id"]: model["edged"] for model in daemon.get("/v1/models")["data"]}

    for name in (*PARTS, *PIECES):
        assert listed[name]["problem"]
        assert listed[name]["capabilities"] == []
    assert "chat" in listed["tiny"]["capabilities"]
    assert listed["tiny"]["problem"] is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (PARTS["projector"][0], "it is a projector"),
        (PARTS["adapter"][0], "it is an adapter"),
        (PARTS["bent-adapter"][0], "begins at byte"),
        (BENT["epsilon NaN"].written(), "is nan"),
        (BENT["two tokens equal"].written(), "are the same text"),
    ],
    ids=["projector", "adapter", "bent-adapter", "epsilon", "tokens"],
)
def test_g16_a_draft_model_obeys_the_same_rules(
    start_daemon: StartDaemon, tiny: Path, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "guesser").write_bytes(content)
    settings = '[models]\ndefault = "tiny"\n[engine]\ndraft_model = "guesser"\n'
    daemon = start_daemon({"tiny": tiny, "guesser": tmp_path / "guesser"}, settings)

    assert post(daemon, asking()).status == 200
    found = daemon.resident("tiny")
    assert found is not None
    assert found["draft_model"] is None
    assert problem in found["draft_problem"]
