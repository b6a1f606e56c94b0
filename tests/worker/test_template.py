"""A stranger's template lays out what people typed, and none of it becomes a control token."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from edged.chat import Role, TextPart
from edged.template_wire import Refused, Render, Rendered, Span, Template, Turn
from edged.worker.model import Model
from edged.worker.prompt import Control, split_at_controls, tokens_of
from edged.worker.template import Marks, Renderer, answer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Templates of the engine's source package beside a vocabulary of the same family, as far as it ships one.
FAMILIES = [
    ("Qwen-Qwen2.5-7B-Instruct", "qwen2"),
    ("Qwen-Qwen3-0.6B", "qwen2"),
    ("Qwen-QwQ-32B", "qwen2"),
    ("Qwen3-Coder", "qwen2"),
    ("Qwen3.5-4B", "qwen35"),
    ("meta-llama-Llama-3.1-8B-Instruct", "llama-bpe"),
    ("meta-llama-Llama-3.2-3B-Instruct", "llama-bpe"),
    ("meta-llama-Llama-3.3-70B-Instruct", "llama-bpe"),
    ("meetkai-functionary-medium-v3.2", "llama-bpe"),
    ("mistralai-Mistral-Nemo-Instruct-2407", "llama-spm"),
    ("microsoft-Phi-3.5-mini-instruct", "phi-3"),
    ("deepseek-ai-DeepSeek-V3.1", "deepseek-llm"),
    ("llama-cpp-deepseek-r1", "deepseek-llm"),
    ("CohereForAI-c4ai-command-r-plus-tool_use", "command-r"),
    ("google-gemma-4-31B-it", "gemma-4"),
    ("llama-cpp-rwkv-world", "gpt-2"),
]
ENOUGH_CONTROLS = 12

VocabularyOf = Callable[[str], Model]


def turns(*said: tuple[Role, str]) -> tuple[Turn, ...]:
    return tuple(Turn(role, (TextPart(text),)) for role, text in said)


def joined(spans: Iterable[Span]) -> str:
    return "".join(span.text for span in spans)


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "templates").glob("*.jinja"))


def source(folder: Path, name: str) -> str:
    return (folder / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def renderer(folder: Path, name: str, llama: Model) -> Renderer:
    return Renderer(Template(source(folder, name), llama.bos_text, llama.eos_text, tuple(llama.controls)))


TALK = turns(
    ("user", "Is 3 < 4 | 5? I typed [INST and <s and a lone <."),
    ("assistant", "Yes: `if (a <b) {x |= 1}` — <div>你好</div> 🙂"),
    ("user", "  two\n\nlines and   a < at the end <"),
)


@pytest.mark.parametrize("quarter", range(4))
def test_every_template_of_the_package_lays_out_harmless_words_as_without_marks(
    engine_models: Path, vocabulary_of: VocabularyOf, quarter: int
) -> None:
    controls = tuple(vocabulary_of("qwen2").controls) + tuple(vocabulary_of("llama-spm").controls)
    failed = {}
    for name in names(engine_models)[quarter::4]:
        said = turns(("system", "Be brief <")) + TALK
        try:
            marked = Renderer(Template(source(engine_models, name), "<s>", "</s>", controls)).render(said)
            plain = Renderer(Template(source(engine_models, name), "<s>", "</s>", ())).render(said)
        except TemplateError as error:
            failed[name] = str(error)
            continue
        if joined(marked) != joined(plain):
            failed[name] = "marks changed the text"

    assert failed == {}


@pytest.mark.parametrize(("name", "vocabulary"), FAMILIES)
def test_harmless_words_have_the_ids_of_the_whole_text(
    name: str, vocabulary: str, engine_models: Path, vocabulary_of: VocabularyOf
) -> None:
    llama = vocabulary_of(vocabulary)
    spans = renderer(engine_models, name, llama).render(TALK)
    whole = llama.tokenize(joined(spans), parse_special=True)

    # The way that every prompt without literal text goes, and the way of those with it, which must not differ.
    assert tokens_of(spans, llama) == with_bos(whole, llama)
    assert tokens_of([*spans, Span("", literal=True)], llama) == with_bos(whole, llama)


def with_bos(ids: list[int], llama: Model) -> list[int]:
    return ids if llama.bos is None or ids[:1] == [llama.bos] else [llama.bos, *ids]


def injections(control: str) -> list[tuple[str, str]]:
    """The texts of two consecutive user messages with `control` in the first, the second, or cut between them."""
    half = max(1, len(control) // 2)
    return [
        (control, "more"),
        (f"{control} tail", "more"),
        (f"head {control}", "more"),
        (f"head{control}tail", control),
        (f"  {control}\n", "\t" + control + "  "),
        (f"head {control[:half]}", f"{control[half:]} tail"),
        (f"head {control[:1]}  \n", f"  {control[1:]}"),
        (f"head {control[:-1]}", control[-1:]),
        (control + control, control[:1] + control),
    ]


def control_ids(said: tuple[Turn, ...], layout: Renderer, llama: Model) -> Counter[int]:
    controls = {control.id for control in llama.controls.values()}
    return Counter(id for id in tokens_of(layout.render(said), llama) if id in controls)


@pytest.mark.parametrize("roles", [("user", "assistant", "user"), ("user", "user", "user")], ids=lambda r: r[1])
@pytest.mark.parametrize(("name", "vocabulary"), FAMILIES)
def test_nothing_that_is_typed_becomes_a_control_token(
    name: str, vocabulary: str, roles: Sequence[Role], engine_models: Path, vocabulary_of: VocabularyOf
) -> None:
    llama = vocabulary_of(vocabulary)
    layout = renderer(engine_models, name, llama)
    harmless = control_ids(turns((roles[0], "one"), (roles[1], "two"), (roles[2], "three")), layout, llama)
    every = sorted(llama.controls)
    sample = every[:: max(1, len(every) // ENOUGH_CONTROLS)]

    for control in [*sample, llama.eos_text, "<|im_end|>" if "<|im_end|>" in every else every[0]]:
        for first, second in injections(control):
            said = turns((roles[0], first), (roles[1], second), (roles[2], f"three {control}"))
            assert not control_ids(said, layout, llama) - harmless, (control, first, second)


def test_what_is_typed_is_still_there(engine_models: Path, vocabulary_of: VocabularyOf) -> None:
    llama = vocabulary_of("qwen2")
    spans = renderer(engine_models, "Qwen-Qwen2.5-7B-Instruct", llama).render(
        turns(("user", "what is <|im_start|> for, and <|im_end|>?"))
    )

    assert "user\nwhat is <|im_start|> for, and <|im_end|>?<|im_end|>\n" in joined(spans)
    assert [span.text for span in spans if span.literal] == ["<|im_start|>", "<|im_end|>"]


def chatml(controls: Sequence[str] = ("<|im_start|>", "<|im_end|>"), layout: str = CHATML) -> Renderer:
    return Renderer(Template(layout, "<s>", "</s>", tuple(controls)))


@pytest.mark.parametrize("used", [["\U000f0000"], [chr(0xF0000 + n) for n in range(15)]], ids=["one", "all but one"])
def test_who_types_the_sentinel_forges_nothing(used: list[str]) -> None:
    text = "".join(used) + "<\U000f0000|im_start|> and <|im_start|>" + "".join(used)

    spans = chatml().render(turns(("user", text)))

    assert text in joined(spans)
    assert [span.text for span in spans if span.literal] == ["<|im_start|>"]


def test_who_types_every_sentinel_is_told_so() -> None:
    text = "".join(chr(0xF0000 + n) for n in range(16))

    with pytest.raises(TemplateError, match="U\\+F0000"):
        chatml().render(turns(("user", text)))


@pytest.mark.parametrize(
    "expression",
    [
        "message.content | trim",
        "message.content[:20]",
        "message.content[1:]",
        "message.content[2:-2]",
        "message.content.split('y')[-1]",
        "message.content.split('x')[0]",
        "message.content.strip('<')",
        "message.content.replace('x', '')",
        "message.content | replace('\\n', ' ')",
        "message.content | tojson",
        "message.content ~ message.content",
    ],
)
def test_a_template_may_cut_and_trim_as_it_likes(expression: str) -> None:
    layout = chatml(layout="{% for message in messages %}{{ " + expression + " }}{% endfor %}")
    controls = {"<|im_start|>": Control(1), "<|im_end|>": Control(2)}

    for first, second in injections("<|im_start|>") + injections("<|im_end|>"):
        spans = layout.render(turns(("user", first), ("assistant", second), ("user", "x" + first + "y")))
        assert not [piece for piece in split_at_controls(spans, controls) if isinstance(piece, Control)], (
            first,
            second,
        )


def test_a_template_that_takes_parts_gets_parts() -> None:
    layout = chatml(
        layout="{% for m in messages %}{% for part in m['content'] %}"
        "{% if part['type'] == 'text' %}[{{ part['text'] }}]{% endif %}{% endfor %}{% endfor %}"
    )
    parted = (Turn("user", (TextPart("a <|im_"), TextPart("end|>"))),)

    assert layout.render(parted) == (Span("[a "), Span("<|im_end|>", literal=True), Span("]"))


def test_parts_are_joined_for_a_template_that_takes_strings() -> None:
    spans = chatml().render((Turn("user", (TextPart("a"), TextPart("b"))),))

    assert joined(spans) == "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n"


def test_what_templates_use_is_there() -> None:
    layout = chatml(
        layout="{{ bos_token }}{{ eos_token }}{{ messages | tojson }}{{ {'a': '<é>'} | tojson(indent=2) }}"
        "{{ strftime_now('%Y') }}{% for i in range(9) %}{% if i == 1 %}{% break %}{% endif %}.{% endfor %}"
    )

    text = joined(layout.render(turns(("user", "it's <b>"))))

    assert text.startswith('<s></s>[{"role": "user", "content": "it\'s <b>"}]{\n  "a": "<é>"\n}')
    assert re.fullmatch(r"\d{4}\.", text[-5:])


def test_blocks_leave_no_white_space_behind() -> None:
    layout = chatml(layout="a\n    {% if true %}\nb\n    {% endif %}\nc")

    assert joined(layout.render(turns(("user", "x")))) == "a\nb\nc"


def test_a_template_with_generation_blocks_is_laid_out() -> None:
    """Published templates mark the model's own words for training this way; here the mark means nothing."""
    layout = chatml(layout="[{% generation %}{{ messages[0].content }}{% endgeneration %}]")

    assert joined(layout.render(turns(("user", "hi")))) == "[hi]"


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("{{ raise_exception('only one turn, please') }}", "only one turn, please"),
        ("{{ messages[7].content.x }}", "has no element 7"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages + 1 }}", "can only concatenate"),
        ("{{ no_such_thing() }}", "'no_such_thing' is undefined"),
        ("{{ {}['a']['b'] }}", "a"),
    ],
)
def test_what_a_template_objects_to_is_its_answer(layout: str, words: str) -> None:
    # The first rendering is the probe of the constructor, so the objection waits for a real conversation.
    picky = chatml(layout="{% if messages[0].content != 'probe' %}" + layout + "{% endif %}{{ messages[0].content }}")

    reply = answer(picky, Render(3, turns(("user", "hi"))))

    assert isinstance(reply, Refused)
    assert reply.id == 3
    assert words in reply.message


def test_an_answer_carries_its_id_and_the_prompt() -> None:
    assert answer(chatml(layout="{{ messages[0].content }}"), Render(9, turns(("user", "hi")))) == Rendered(
        9, (Span("hi"),)
    )


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ ('{0.__class__}'|format)('') }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ (messages[0].content ~ '{0.__globals__}').format(raise_exception) }}",
    "{% set f = '{0.__globals__[sys]}'.format %}{{ f(raise_exception) }}",
    "{{ ['{0.__globals__}', raise_exception]|map('format')|list }}",
    "{{ [raise_exception]|map(attribute='__globals__')|list }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages.append(1) }}{{ messages }}",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_template_sees_nothing_of_python(escape: str) -> None:
    reply = answer(
        chatml(layout="{{ messages[0].content }}{% if messages[0].content != 'probe' %}" + escape + "{% endif %}"),
        Render(1, turns(("user", "hi"))),
    )

    shown = reply.message if isinstance(reply, Refused) else joined(reply.prompt)
    for trace in ("<class", "<module", "__builtins__", "uid=", "subprocess", "site-packages"):
        assert trace not in shown


# Characters that make control tokens begin inside each other, end in each other, and hide behind white space.
few = st.text("<|>a ", min_size=1, max_size=6).filter(lambda text: text.strip() == text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(few, min_size=1, max_size=5, unique=True),
    st.lists(st.text("<|>a \n", max_size=10), min_size=1, max_size=4),
    st.booleans(),
)
@example(["<a<c", "<cd"], ["<a<c"], False)
@example(["<a>", "<<a>>"], ["<<a>>"], False)
@example(["<a>"], ["<", " a>"], True)
def test_no_set_of_control_tokens_lets_typed_text_through(
    controls: list[str], typed: list[str], is_trimmed: bool
) -> None:
    marks, sentinel = Marks(controls), "\U000f0000"

    marked = [marks.mark(text, sentinel) for text in typed]
    spans = tuple(marks.spans("".join(text.strip() if is_trimmed else text for text in marked), sentinel))

    assert joined(spans) == "".join(text.strip() if is_trimmed else text for text in typed)
    pieces = split_at_controls(spans, {text: Control(id) for id, text in enumerate(controls)})
    assert not [piece for piece in pieces if isinstance(piece, Control)]


@given(st.lists(few, min_size=1, max_size=5, unique=True), st.text("bcd ?\n你", max_size=20))
def test_text_without_a_trace_is_not_touched(controls: list[str], text: str) -> None:
    assert Marks(controls).mark(text, "\U000f0000") == text


def test_a_vocabulary_without_control_tokens_marks_nothing() -> None:
    marks = Marks([])

    assert marks.mark("<|im_start|> <", "\U000f0000") == "<|im_start|> <"
    assert list(marks.spans("text", "\U000f0000")) == [Span("text")]


def test_the_corpus_of_families_is_not_stale(engine_models: Path) -> None:
    known = set(names(engine_models))

    assert {name for name, _ in FAMILIES} <= known, json.dumps(sorted(known))
