"""What an answer must look like, as clients say it: OpenAI's `response_format` and llama-server's own fields.

`grammar` (GBNF) and `json_schema` are llama-server's (tools/server/README.md of llama.cpp); a grammar that begins with
`%llguidance` is Lark, as in llama.cpp built with llguidance (docs/llguidance.md there). `regex` is ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints

from edged.api.body import Strict
from edged.api.tools import compact
from edged.errors import InvalidRequest
from edged.sampling import Constraint

# Larger than the largest schema of ordinary use by far; what it costs to follow grows faster than its text.
MAX_CONSTRAINT_BYTES = 64 * 1024
_ANY_OBJECT = Constraint("json_schema", '{"type":"object"}')
_LARK = "%llguidance"


class _Text(Strict):
    type: Literal["text"]

    def constraint(self) -> Constraint | None:
        """None: any text will do."""
        return None


class _JsonObject(Strict):
    type: Literal["json_object"]

    def constraint(self) -> Constraint | None:
        """Any JSON object."""
        return _ANY_OBJECT


class _Schema(Strict):
    name: Annotated[str, StringConstraints(max_length=256)] = ""
    description: str = ""
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool = False


class _JsonSchema(Strict):
    type: Literal["json_schema"]
    json_schema: _Schema

    def constraint(self) -> Constraint | None:
        """JSON of the schema. Only with `strict` is a keyword refused that cannot be enforced, as OpenAI has it."""
        return of_schema(self.json_schema.schema_, is_lenient=not self.json_schema.strict)


class _FlatSchema(_Schema):
    type: Literal["json_schema"]

    def constraint(self) -> Constraint | None:
        """As `_JsonSchema`."""
        return of_schema(self.schema_, is_lenient=not self.strict)


ResponseFormat: TypeAlias = Annotated[_Text | _JsonObject | _JsonSchema, Field(discriminator="type")]
# The same in OpenAI's Responses API, `text.format`: the schema lies one level higher there.
TextFormat: TypeAlias = Annotated[_Text | _JsonObject | _FlatSchema, Field(discriminator="type")]
ANY_TEXT = _Text(type="text")


def of_schema(schema: dict[str, Any], *, is_lenient: bool) -> Constraint:
    """JSON of this schema; with `is_lenient`, keywords that cannot be enforced are left to the model."""
    return Constraint("json_schema", compact(schema), is_lenient)


def of_grammar(text: str) -> Constraint:
    """A sentence of this grammar."""
    return Constraint("lark" if text.lstrip().startswith(_LARK) else "gbnf", text)


def the_one(wanted: dict[str, Constraint | None]) -> Constraint | None:
    """What the request's fields, by name, ask for; None where none does.

    Raises `InvalidRequest` where two do, or for a text that is too long.
    """
    asked = {name: constraint for name, constraint in wanted.items() if constraint is not None}
    if not asked:
        return None
    if len(asked) > 1:
        names = " and ".join(asked)
        raise InvalidRequest(
            f"{names} both say what the answer must look like; send one of them.", param=list(asked)[1]
        )
    ((name, constraint),) = asked.items()
    size_bytes = len(constraint.text.encode())
    if size_bytes > MAX_CONSTRAINT_BYTES:
        raise InvalidRequest(f"{name} has {size_bytes} bytes; at most {MAX_CONSTRAINT_BYTES} are accepted.", param=name)
    return constraint
