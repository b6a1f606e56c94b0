"""What a model can be asked for, or a clear refusal: checked before anything is computed."""

from __future__ import annotations

from edged.chat import ChatRequest, EmbedRequest, ImagePart, RerankRequest
from edged.errors import CapabilityMissing, InvalidRequest, UnsupportedParameter
from edged.local.manner import parted
from edged.wire import Loaded


def check_asked(request: ChatRequest) -> None:
    """Raises `RequestError` for what no model here can do, or for wishes that exclude each other."""
    if any(isinstance(part, ImagePart) for message in request.messages for part in message.parts):
        raise CapabilityMissing(f"The model {request.model} cannot see images.", param="messages")
    if request.constraint is not None and request.sampling.ignores_end:
        raise InvalidRequest(
            "ignore_eos lets an answer go on for ever, and its grammar says where it ends. Send one of them.",
            param="ignore_eos",
        )
    if request.messages and request.messages[-1].calls:
        raise InvalidRequest(
            "The conversation ends with calls, and nobody said what they came to. Send a result for each, or leave the "
            "calls out.",
            param="messages",
        )
    if (request.constraint or request.tool_choice.kind == "required") and parted(request.messages)[1]:
        raise InvalidRequest(
            "The conversation ends with the assistant, so the answer goes on from there, and a format or a call that "
            "must be made is of a whole answer. End with the user, or leave out the other.",
            param="messages",
        )
    if request.raw_prompt is None and not any(message.text for message in request.messages):
        raise InvalidRequest("The conversation has no text to answer.", param="messages")


def check_writes(model: str, card: Loaded) -> None:
    """Raises `CapabilityMissing` for a model that writes no text."""
    if card.pooling is not None:
        makes, path = ("scores", "/v1/rerank") if card.pooling == "rank" else ("vectors", "/v1/embeddings")
        raise CapabilityMissing(
            f"The model {model} was made for {makes} and writes no text. Use {path}, or another model.", param="model"
        )


def check_embeds(request: EmbedRequest, card: Loaded) -> None:
    """Raises `RequestError` where it makes no such vectors of such inputs."""
    if card.pooling == "rank":
        raise CapabilityMissing(
            f"The model {request.model} is a reranker: it judges pairs of texts and makes no vectors. Use /v1/rerank, "
            "or another model.",
            param="model",
        )
    _check_dimensions(request, card)
    for index, text in enumerate(request.inputs):
        if not isinstance(text, str):
            check_ids(f"Input {index}", text, request.model, card, param="input")


def check_ids(what: str, ids: tuple[int, ...], model: str | None, card: Loaded, *, param: str) -> None:
    """Raises `InvalidRequest` where one of `ids` is no token of the model's; `what` holds them."""
    if unknown := [id for id in ids if id >= card.vocabulary_tokens]:
        raise InvalidRequest(
            f"{what} holds the token id {unknown[0]}, and the model {model} knows {card.vocabulary_tokens} tokens. "
            "Ids of another model mean nothing here; send the text.",
            param=param,
        )


def _check_dimensions(request: EmbedRequest, card: Loaded) -> None:
    """The beginning of a vector is a vector only where a model was trained for that, as many made for vectors are."""
    if request.dimensions in (None, card.vector_floats):
        return
    if card.pooling is None or request.dimensions > card.vector_floats:
        raise UnsupportedParameter(
            f"dimensions is {request.dimensions}, and vectors of the model {request.model} have {card.vector_floats} "
            "numbers. Fewer can be had only of a model that was made for vectors; leave dimensions out.",
            param="dimensions",
        )


def check_ranks(request: RerankRequest, card: Loaded) -> None:
    """Raises `CapabilityMissing` for a model that judges nothing."""
    if card.pooling != "rank":
        raise CapabilityMissing(
            f"The model {request.model} is no reranker: it cannot judge how well a document answers a query. Install "
            "one, for example a GGUF of bge-reranker-v2-m3, and name it; or compare vectors of /v1/embeddings.",
            param="model",
        )
