"""Everything that can go wrong, as one tree.

    EdgedError
    ├── RequestError                 yours: sending it again unchanged will not help
    │   ├── InvalidRequest           a field is missing, malformed or out of range
    │   ├── UnsupportedParameter     a field that exists elsewhere and not here (yet)
    │   ├── ContextLengthExceeded    the prompt alone fills the context
    │   │   └── InputTooLong         a text is longer than the model can read for a vector or a score
    │   ├── CapabilityMissing        the model cannot do that (no vision, no chat template)
    │   ├── GrammarInvalid           the schema, regex or grammar of the answer cannot be used
    │   ├── Cancelled                somebody asked for it to stop
    │   ├── Unauthorized             who asks has not said who that is, or not truly
    │   ├── Forbidden                this caller or origin may not ask that
    │   │   └── ClaimRequired        nobody owns the device yet
    │   ├── HostNotAllowed           the Host header names somebody else
    │   ├── NotFound                 no such path
    │   │   └── ModelNotFound        no such model
    │   ├── MethodNotAllowed         that path, but not with that method
    │   ├── PayloadTooLarge          more bytes than the published limit
    │   ├── UnsupportedMediaType     not plain JSON
    │   ├── ModelInvalid             the model's file is damaged or no model, or the engine refused it
    │   │   └── ModelUnsupported     this version of the engine does not know such models
    │   ├── ChecksumMismatch         what was fetched is not what was announced
    │   ├── Conflict                 not as things stand now
    │   │   └── OffsetConflict       an upload goes on at another byte
    │   ├── ModelQuarantined         the model has ended its process too often
    │   └── TemplateLimit            the model's chat template ran too long or too large
    ├── Unavailable                  ours: the same request may succeed later, or elsewhere
    │   ├── QueueFull                as many wait as may wait
    │   ├── RateLimited              this caller has more than its share of the line
    │   ├── PredictedTimeout         its first word would come later than it is willing to wait
    │   ├── ModelLoading             the model is on its way into memory
    │   ├── WorkerCrashed            the model's process died
    │   ├── WorkerStalled            the model's process stopped making progress and was replaced
    │   ├── WorkerStarved            the model's process found no memory for this
    │   ├── ModelTooLarge            the model needs more memory than there is
    │   ├── LoadTimeout              the model did not load in time
    │   ├── DiskFull                 the disk has no room for it, or takes nothing any more
    │   ├── ProviderUnavailable      somebody else's server does not answer, or not as it should
    │   │   └── ProviderAuth         it wants to know who asks, or refuses whoever does
    │   └── ShuttingDown             the daemon is on its way out
    ├── ConfigError                  the configuration says something impossible; the daemon does not start
    └── Internal                     a defect of ours, reported without its details

The classes know nothing of HTTP: `api/errors.py` maps each to a status. `code` is the name that clients may rely on.
"""

from __future__ import annotations

import math
import random

# Memory that others take is given back when somebody closes a program, not in a second.
_MEMORY_FREED_S = 60.0


class EdgedError(Exception):
    """A failure that a person can read: `str(error)` is a whole sentence with the value and what to do."""

    code: str = "internal"


class RequestError(EdgedError):
    """The request itself is at fault. `param` names the field, where one is to blame."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(RequestError):
    """A field is missing, malformed or out of range."""


class UnsupportedParameter(RequestError):
    """A field that we do not honour is refused by name: nothing is accepted and ignored."""

    code = "unsupported_parameter"


class ContextLengthExceeded(RequestError):
    """The prompt leaves no room for an answer. Both numbers are tokens."""

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and this model's context holds {context_tokens}, "
            "answer included. Shorten it."
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class InputTooLong(ContextLengthExceeded):
    """A text, or a query together with a document, is longer than the model can read at once."""

    def __init__(self, what: str, prompt_tokens: int, context_tokens: int, *, param: str) -> None:
        super().__init__(prompt_tokens, context_tokens)
        self.args = (
            f"{what} has {prompt_tokens} tokens, and this model reads at most {context_tokens} at once. Split it.",
        )
        self.param = param


class CapabilityMissing(RequestError):
    """The chosen model cannot do what was asked."""

    code = "capability_missing"


class GrammarInvalid(RequestError):
    """What the answer was to look like cannot be read, cannot be met, or takes too long to follow."""

    code = "grammar_invalid"


class Cancelled(RequestError):
    """The answer was stopped from elsewhere, by its owner."""

    code = "cancelled"


class Forbidden(RequestError):
    """This caller, or the page it came from, may not do this."""

    code = "forbidden"


class ClaimRequired(Forbidden):
    """The device has no owner yet, and until it has it serves nobody else."""

    code = "claim_required"


class Unauthorized(RequestError):
    """It takes a proof of who asks, and there is none, or one that does not hold."""

    code = "unauthorized"


class HostNotAllowed(RequestError):
    """The Host header is none of our names: DNS rebinding, or a name the owner has to list."""

    code = "host_not_allowed"


class NotFound(RequestError):
    """No such path or object."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No installed model and no alias has this name."""

    code = "model_not_found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not. `allowed` lists those that do."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLarge(RequestError):
    """More bytes than the published limit."""

    code = "payload_too_large"


class UnsupportedMediaType(RequestError):
    """The body is not plain, uncompressed JSON."""

    code = "unsupported_media_type"


class ModelInvalid(RequestError):
    """The model's file is damaged or no model, or the engine could not load it."""

    code = "model_invalid"


class ModelUnsupported(ModelInvalid):
    """The file may be sound, and the engine of this edged does not know its architecture, tokenizer or tensors."""

    code = "model_unsupported"


class ModelQuarantined(RequestError):
    """The model's file is well-formed, and running it ended the process that ran it, twice in ten minutes."""

    code = "model_quarantined"


class ChecksumMismatch(RequestError):
    """What was fetched has another SHA-256 than was announced; it was thrown away."""

    code = "checksum_mismatch"


class Conflict(RequestError):
    """It cannot be done as things stand now."""

    code = "conflict"


class OffsetConflict(Conflict):
    """An upload goes on at `offset_bytes` and at no other byte."""

    def __init__(self, message: str, *, offset_bytes: int) -> None:
        super().__init__(message)
        self.offset_bytes = offset_bytes


class TemplateLimit(RequestError):
    """The model's own chat template exceeded its time or memory and was stopped."""

    code = "template_limit"


class Unavailable(EdgedError):
    """Not now. `retry_after_s` is an estimate from measured rates, never below one second."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = max(1.0, retry_after_s)
        self._chance = random.random()

    @property
    def come_back_s(self) -> int:
        """When to come back, in whole seconds: the estimate and up to a third more, the same whenever it is asked.

        Who was refused together shall not come back together. One second is what is said without an estimate.
        """
        whole_s = math.ceil(self.retry_after_s)
        spread_s = max(1, whole_s // 3) if self.retry_after_s > 1 else 0
        return whole_s + round(self._chance * spread_s)


class QueueFull(Unavailable):
    """As many requests wait as may wait."""


class RateLimited(Unavailable):
    """Others wait too, and this caller has more than its share of the places."""

    code = "rate_limited"


class PredictedTimeout(Unavailable):
    """The first word is expected later than the caller said that it would wait."""

    code = "predicted_timeout"


class ModelLoading(Unavailable):
    """The model is being read into memory. `progress` runs from 0 to 1."""

    code = "model_loading"

    def __init__(self, message: str, *, progress: float, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.progress = progress


class WorkerCrashed(Unavailable):
    """The model's process ended while it owed us an answer; `by_itself` where nobody outside had a hand in it."""

    code = "worker_crashed"

    def __init__(self, message: str, *, by_itself: bool = False, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.by_itself = by_itself


class WorkerStalled(Unavailable):
    """The model's process said nothing for too long and was killed."""

    code = "worker_stalled"


class WorkerStarved(Unavailable):
    """The model's process found no memory for what was asked; what else it does goes on."""

    code = "worker_oom"


class ModelTooLarge(Unavailable):
    """The model needs more memory than it can have, by arithmetic or because its process found none."""

    code = "model_too_large"

    def __init__(self, message: str, *, needed_bytes: int, available_bytes: int) -> None:
        super().__init__(message, retry_after_s=_MEMORY_FREED_S)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class LoadTimeout(Unavailable):
    """The model did not load within its deadline and was killed."""

    code = "load_timeout"


class DiskFull(Unavailable):
    """There is no room for this on the disk, or it takes nothing any more; what is there already is kept."""

    code = "disk_full"


class ProviderUnavailable(Unavailable):
    """A server elsewhere could not be reached, or answered with what makes no sense."""

    code = "provider_unavailable"


class ProviderAuth(ProviderUnavailable):
    """A server elsewhere wants a token, or another one."""

    code = "provider_auth"


class ShuttingDown(Unavailable):
    """The daemon drains: running answers get a grace period, new ones are refused."""

    code = "shutting_down"


class ConfigError(EdgedError):
    """The configuration cannot be used; nothing was started."""


class Internal(EdgedError):
    """A defect of ours. Details go to the log, the caller gets the request's id."""
