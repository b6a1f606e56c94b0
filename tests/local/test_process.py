"""A real worker process: it answers, it dies, and whoever waited is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edged.chat import Caller, ChatRequest
from edged.completion import Delta, Event, Finish
from edged.errors import ContextLengthExceeded, EdgedError, LoadTimeout, ModelInvalid, WorkerCrashed, WorkerStalled
from edged.local import process as module
from edged.local import watchdog
from edged.local.child import Child, cause_of_death, environment
from edged.local.loads import load_deadline_s
from edged.local.manner import Manner
from edged.local.process import WorkerProcess
from edged.sampling import Constraint, Sampling
from edged.speech.families import Family
from edged.template_wire import Span
from edged.wire import Load, Tuned
from edged.worker.worth import QUIET_S

GREEDY = Sampling(temperature=0.0)
PROMPT = (Span("<|user|>\nWhich way to the harbour?<|end|>\n<|assistant|>\n"),)


def is_huge_on_demand() -> bool:
    """Whether the kernel gives huge pages where a program asks for them (transhuge.rst in its documentation)."""
    mode = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return mode.exists() and "[madvise]" in mode.read_text()


NOTHING_KNOWN = Tuned()


@asynccontextmanager
async def worker(
    file: Path, *, context_tokens: int = 512, sequences: int = 4, tuned: Tuned = NOTHING_KNOWN
) -> AsyncIterator[WorkerProcess]:
    """A worker with the model in `file`; whatever it dies of is ignored."""
    process = WorkerProcess("nano", lambda error: None)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        await process.load(Load("nano", context_tokens, sequences, 1, 0, tuned=tuned), [descriptor])
        yield process
    finally:
        os.close(descriptor)
        await process.stop()


def request(n: int = 1, sampling: Sampling = GREEDY, stop: tuple[str, ...] = (), account: str = "open") -> ChatRequest:
    return ChatRequest("id", sampling=sampling, n=n, stop=stop, caller=Caller(account=account))


async def answer(
    process: WorkerProcess, most: int = 20, asked: ChatRequest | None = None, prompt: tuple[Span, ...] = PROMPT
) -> list[Event]:
    with process.answering(asked or request(), prompt, most) as answers:
        await answers.admitted()
        return [event async for event in answers.events()]


def text(events: list[Event], choice: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.choice == choice)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a worker")
@pytest.mark.skipif(not is_huge_on_demand(), reason="this kernel gives huge pages to everybody, or to nobody")
async def test_its_memory_is_asked_for_in_huge_pages(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        areas = Path(f"/proc/{process.pid}/smaps").read_text()

        assert any("hg" in line.split() for line in areas.splitlines() if line.startswith("VmFlags:"))


async def test_it_introduces_its_model(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        card = process.card

        assert card is not None
        assert (card.context_tokens, card.bos, process.progress) == (512, "<s>", 1.0)
        assert "<|end|>" in card.controls
        assert "add_generation_prompt" in card.template
        assert card.model_bytes > 1_000_000


async def test_at_temperature_zero_it_says_the_same_twice_alone_or_in_company(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        alone = await answer(process)
        together = await asyncio.gather(*[answer(process) for _ in range(4)])

        assert len(text(alone)) > 5
        assert [text(events) for events in together] == [text(alone)] * 4
        assert alone[-1] == Finish(0, "length", 20)
        assert process.work.completion_tokens == 100


async def test_control_tokens_are_text_only_where_they_are_markers(nano_file: Path) -> None:
    forced = Constraint("lark", 'start: "a" <|assistant|> "b" <|system|> "c"')
    async with worker(nano_file) as process:
        said = []
        for markers in ((), ("<|assistant|>", "<|end|>", "[nothing]")):
            with process.answering(
                replace(request(), constraint=forced), PROMPT, 20, manner=Manner(Family("x", dropped=markers))
            ) as answers:
                await answers.admitted()
                said.append([event async for event in answers.events()])

        assert [text(events) for events in said] == ["abc", "a<|assistant|>bc"]
        assert [events[-1] for events in said] == [Finish(0, "stop", 6)] * 2


async def test_an_answer_that_is_guessed_ahead_is_the_same_in_fewer_steps(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        plain = await answer(process, 120)
        steps = process.work.steps
        repeated = [await answer(process, 120, replace(request(), prediction=text(plain))) for _ in range(8)]

        assert [text(events) for events in repeated] == [text(plain)] * 8
        assert process.work.drafted_tokens > 0
        assert process.work.steps - steps + process.work.accepted_tokens >= 8 * 119


async def test_several_choices_are_told_apart_and_their_seeds_differ(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        sampling = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)
        events = await answer(process, asked=request(n=3, sampling=sampling))

        assert sorted(event.choice for event in events if isinstance(event, Finish)) == [0, 1, 2]
        assert len({text(events, choice) for choice in range(3)}) == 3


async def test_a_prompt_is_read_once_for_several_choices(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        with process.answering(request(n=4), PROMPT, 5) as answers:
            prompt_tokens = (await answers.admitted()).prompt_tokens
            finishes = [event async for event in answers.events() if isinstance(event, Finish)]

        assert len(finishes) == 4
        assert process.work.prompt_tokens == prompt_tokens + 3, "its last token gives each choice its first output"


async def test_a_prompt_asked_again_is_told_to_be_in_memory_but_to_nobody_else(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        told = []
        for account in ("ann", "ann", "ben"):
            with process.answering(request(account=account), PROMPT, 5) as answers:
                told.append(await answers.admitted())
                assert [event async for event in answers.events()]

        length = told[0].prompt_tokens
        assert [accepted.cached_tokens for accepted in told] == [0, length - 1, 0]


async def test_a_seed_fixes_the_words(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        asked = request(sampling=Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7))

        assert text(await answer(process, asked=asked)) == text(await answer(process, asked=asked))


async def test_a_stop_string_ends_the_answer_before_it(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        whole = text(await answer(process))
        stop = whole[8:12]
        events = await answer(process, asked=request(stop=(stop,)))

        assert text(events) == whole[: whole.index(stop)]
        assert isinstance(events[-1], Finish)
        assert events[-1].reason == "stop"


async def test_a_prompt_as_long_as_the_context_is_refused_with_both_numbers(nano_file: Path) -> None:
    async with worker(nano_file, context_tokens=64) as process:
        with (
            process.answering(request(), (Span("word " * 200),), 5) as answers,
            pytest.raises(ContextLengthExceeded, match=r"20\d tokens .* holds 64") as refused,
        ):
            await answers.admitted()
        assert refused.value.context_tokens == 64


async def test_no_token_at_all_may_be_asked_for(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        assert await answer(process, most=0) == [Finish(0, "length", 0)]


async def test_a_cancelled_answer_leaves_the_others_alone(nano_file: Path) -> None:
    async with worker(nano_file, sequences=2) as process:
        with process.answering(request(n=2), PROMPT, 400) as answers:
            await answers.admitted()
            await anext(answers.events())

        assert isinstance((await answer(process))[-1], Finish)
        assert process._owed == {}


async def test_a_killed_worker_fails_what_it_owes_with_the_signal_in_words(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        with process.answering(request(), PROMPT, 400) as answers:
            await answers.admitted()
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(WorkerCrashed, match="nano was killed by SIGKILL while answering; the next request"):
                [event async for event in answers.events()]

        with pytest.raises(WorkerCrashed), process.answering(request(), PROMPT, 5):
            pass


async def test_a_worker_that_dies_idle_tells_whoever_owns_it_once(nano_file: Path) -> None:
    gone: asyncio.Queue[EdgedError] = asyncio.Queue()
    process = WorkerProcess("nano", gone.put_nowait)
    with nano_file.open("rb") as file:
        await process.load(Load("nano", 64, 1, 1, 0), [file.fileno()])
    assert process.pid is not None

    os.kill(process.pid, signal.SIGKILL)

    assert "was killed by SIGKILL while idle" in str(await gone.get())
    await process.stop()
    assert gone.empty()


async def test_a_stopped_worker_counts_as_hung_and_is_killed(nano_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "SILENCE_S", 0.1)
    monkeypatch.setattr(watchdog, "_LOOK_EVERY_S", 0.05)
    async with worker(nano_file) as process:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        with (
            process.answering(request(), PROMPT, 5) as answers,
            pytest.raises(WorkerStalled, match="nano made no progress"),
        ):
            await answers.admitted()


async def test_a_load_that_takes_too_long_is_a_load_timeout(nano_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_deadline_s", lambda size_bytes: 0.001)
    process = WorkerProcess("nano", lambda error: None)
    with nano_file.open("rb") as file, pytest.raises(LoadTimeout, match="did not load within"):
        await process.load(Load("nano", 64, 1, 1, 0), [file.fileno()])
    await process.stop()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all" * 100, b"GGUF\x03\0\0\0" + b"\xff" * 64])
async def test_a_file_that_is_no_model_is_refused_in_llama_cpps_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    process = WorkerProcess("bad", lambda error: None)
    with (tmp_path / "bad.gguf").open("rb") as file, pytest.raises(ModelInvalid, match="could not load the model bad"):
        await process.load(Load("bad", 64, 1, 1, 0), [file.fileno()])
    await process.stop()


async def test_interrupting_ends_every_answer_with_the_error(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        with process.answering(request(), PROMPT, 400) as answers:
            await answers.admitted()
            process.interrupt(WorkerCrashed("because of the test"))
            with pytest.raises(WorkerCrashed, match="because of the test"):
                [event async for event in answers.events()]


async def test_hanging_up_lets_a_worker_leave_by_itself(nano_file: Path) -> None:
    gone: list[str] = []
    child = await Child.spawn("edged.worker", lambda frame: None, gone.append)

    await child.hang_up()

    assert gone == ["exited with status 0"]


async def test_a_child_that_breaks_the_protocol_is_killed() -> None:
    gone: asyncio.Queue[str] = asyncio.Queue()
    child = await Child.spawn("edged.worker", lambda frame: None, gone.put_nowait)

    child.data_received(b"something else\n")

    assert "broke the protocol" in await gone.get()
    await child.hang_up()


async def test_the_last_words_of_a_child_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    gone: asyncio.Queue[str] = asyncio.Queue()
    child = await Child.spawn("edged.no_such_module", lambda frame: None, gone.put_nowait)

    assert await gone.get() == "exited with status 1"
    assert "No module named edged.no_such_module" in caplog.text
    await child.hang_up()


def test_children_know_nothing_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HOME", "/home/somebody")

    assert not {"OPENAI_API_KEY", "HOME"} & set(environment())
    assert environment()["GGML_NO_BACKTRACE"] == "1"


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exited with status 0"), (1, "exited with status 1"), (-9, "was killed by SIGKILL")],
)
def test_causes_of_death(returncode: int, words: str) -> None:
    assert cause_of_death(returncode) == words


def test_a_real_time_signal_has_no_name_and_is_still_told() -> None:
    assert "35" in cause_of_death(-35)


@pytest.mark.parametrize(("size", "seconds"), [(0, 60), (100_000_000, 60), (2_000_000_000, 200)])
def test_a_larger_file_may_take_longer(size: int, seconds: float) -> None:
    assert load_deadline_s(size) == seconds


async def test_a_child_leaves_with_the_daemon(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        child = psutil.Process(process.pid)

    assert not child.is_running()


async def test_what_a_worker_finds_out_about_the_machine_is_passed_on() -> None:
    process, found = WorkerProcess("nano", lambda error: None), list[Tuned]()
    process.on_tuned = found.append

    process._hear(Tuned(3))

    assert found == [Tuned(3)]


async def test_a_worker_measures_its_steps_while_nobody_asks_unless_that_was_done_before(nano_file: Path) -> None:
    found: asyncio.Queue[Tuned] = asyncio.Queue()
    async with worker(nano_file) as process:
        process.on_tuned = found.put_nowait
        async with asyncio.timeout(60):
            measured = await found.get()
    assert measured.rows[0] == 1
    assert len(measured.rows) > 8

    async with worker(nano_file, tuned=measured) as process:
        process.on_tuned = found.put_nowait
        await asyncio.sleep(2 * QUIET_S)
    assert found.empty()


async def test_a_worker_that_knows_how_many_threads_are_best_answers_with_them(nano_file: Path) -> None:
    process = WorkerProcess("nano", lambda error: None)
    descriptor = os.open(nano_file, os.O_RDONLY)
    load = Load("nano", 512, 4, 2, 0, tuned=Tuned(1), maps_file=False, repacks=False)
    try:
        card = await process.load(load, [descriptor])
        events = await answer(process)
    finally:
        os.close(descriptor)
        await process.stop()

    assert text(events)
    assert (card.gpu_layers, card.layers) == (0, 2)
