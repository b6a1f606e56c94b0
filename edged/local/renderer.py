"""The daemon's end of a model's template process: a deadline around a stranger's program.

The child renders one conversation at a time. One that takes longer than two seconds, or runs out of its 64 MiB, costs
its own request a `TemplateLimit` and itself its life; the next request starts another child.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

from edged.chat import ReasoningEffort, Tool
from edged.errors import InvalidRequest, ModelInvalid, TemplateLimit, WorkerStalled
from edged.framing import WireError
from edged.local.child import Child
from edged.template_wire import Capabilities, Compiled, Refused, Render, Rendered, Span, Started, Template, Turn
from edged.wire import Frame

RENDER_S = 2.0
# Starting Python and importing Jinja, on a Pi from a cold card. Nothing of the stranger's has run by then.
_START_S = 15.0


class Renderer:
    """Renders with one model's template. Starts its child when first asked, and again after it had to be killed."""

    def __init__(self, name: str, template: Template) -> None:
        self._name = name
        self._template = template
        self._capabilities = Capabilities()
        self._child: Child | None = None
        # Those that were dismissed too, until they are seen off.
        self._spawned: set[Child] = set()
        self._turn = asyncio.Lock()
        self._ids = itertools.count(1)
        self._generation = 0
        self._expected = 0
        self._reply: asyncio.Future[Frame | None] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the template can lay out: known from `start` on, before that no more than plain turns."""
        return self._capabilities

    @property
    def pid(self) -> int | None:
        """The child's process id; None where there is none."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Have the child ready. Raises `ModelInvalid` where the template does not compile, `TemplateLimit`."""
        async with self._turn:
            await self._ready_child()

    async def render(
        self,
        turns: tuple[Turn, ...],
        tools: tuple[Tool, ...] = (),
        thinks: bool | None = None,
        effort: ReasoningEffort | None = None,
    ) -> tuple[Span, ...]:
        """The prompt for a conversation, whatever the template knows of tools, calls and thoughts.

        Raises `InvalidRequest` when the template refuses it, `PayloadTooLarge`, `TemplateLimit`.
        """
        async with self._turn:
            child = await self._ready_child()
            id = next(self._ids)
            match await self._ask(child, Render(id, turns, tools, thinks, effort), id, RENDER_S):
                case Rendered(_, prompt):
                    return prompt
                case Refused(_, message):
                    raise InvalidRequest(f"The chat template of {self._name} refused: {message}", param="messages")
                case _:
                    raise TemplateLimit(f"The chat template of {self._name} exceeded {RENDER_S:.0f} s or 64 MiB.")

    async def stop(self) -> None:
        """Hang up and wait until every child is gone."""
        await asyncio.gather(*[child.hang_up() for child in self._spawned])

    async def _ready_child(self) -> Child:
        if self._child is not None:
            return self._child
        child = await self._started_child()
        match await self._ask(child, self._template, 0, RENDER_S):
            case Compiled(capabilities):
                self._child, self._capabilities = child, capabilities
                return child
            case Refused(_, message):
                raise ModelInvalid(f"The chat template of {self._name} does not compile: {message}")
            case _:
                raise TemplateLimit(
                    f"The chat template of {self._name} could not be compiled within {RENDER_S:.0f} s and 64 MiB."
                )

    async def _started_child(self) -> Child:
        self._generation += 1
        mine = self._generation
        self._expected, self._reply = 0, asyncio.get_running_loop().create_future()
        child = await Child.spawn("edged.worker.template", partial(self._hear, mine), partial(self._bury, mine))
        self._spawned = {child, *(other for other in self._spawned if not other.is_gone)}
        if not isinstance(await self._answer(child, _START_S), Started):
            raise WorkerStalled(f"The template process of {self._name} did not start.")
        return child

    async def _ask(self, child: Child, frame: Frame, id: int, deadline_s: float) -> Frame | None:
        """The child's reply to `frame`; None when there was none in time or the child is gone."""
        self._expected, self._reply = id, asyncio.get_running_loop().create_future()
        child.send(frame)
        return await self._answer(child, deadline_s)

    async def _answer(self, child: Child, deadline_s: float) -> Frame | None:
        assert self._reply is not None
        try:
            async with asyncio.timeout(deadline_s):  # not wait_for: before Python 3.12 it can swallow a cancellation
                return await self._reply
        except TimeoutError:
            return None
        finally:
            if self._reply.cancelled():  # by the deadline or by who asked: what it still does would hold up the next
                self._child = None
                child.kill("took too long")

    def _hear(self, generation: int, frame: Frame) -> None:
        if not isinstance(frame, Started | Compiled | Rendered | Refused):
            raise WireError(f"a template process does not send {type(frame).__name__}")
        id = 0 if isinstance(frame, Started | Compiled) else frame.id
        is_expected = (generation, id) == (self._generation, self._expected)
        if is_expected and self._reply is not None and not self._reply.done():
            self._reply.set_result(frame)

    def _bury(self, generation: int, _cause: str) -> None:
        if generation != self._generation:
            return  # a child that was killed for its slowness; another has taken over
        self._child = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(None)
