"""A task's items as they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.tasks.declaration import BETWEEN, Choices, Item, Program, Scoring, Task


@dataclass(frozen=True)
class AskedTask:
    """A task's items as they are asked: what stands before each, and which are measured."""

    task: Task
    shots: int
    examples: str
    """Solved items, which are not measured."""
    items: Sequence[Item]
    every: Sequence[Item]
    """All items of the task."""
    pmi: bool = False
    chat: bool = False
    """Whether examples and question are the user's turn of the model's chat template, and the answer is the model's, as
    by lm-evaluation-harness' --apply_chat_template."""

    @classmethod
    def of(
        cls,
        task: Task,
        shots: int = 0,
        limit: int | None = None,
        pmi: bool = False,
        chat: bool = False,
        run_programs: bool = False,
    ) -> AskedTask:
        """The first `shots` items as examples, and the `limit` items after them. ConfigError where none is left, for
        what cannot be asked so, and for programs of the model's that nobody allowed to run."""
        for name, value, least in (("shots", shots, 0), ("limit", limit, 1)):
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; give {least} or more")
        if shots and not task.examples:
            raise ConfigError(f"{task.name} compares whole sentences, and takes no examples; leave out the shots")
        if chat and not task.examples:
            raise ConfigError(
                f"{task.name} asks no question that a user's turn could hold; leave out --chat (chat=True)"
            )
        if chat and pmi:
            raise ConfigError("domain PMI has no context that a user's turn could hold; leave out --pmi or --chat")
        every = task.items()
        if shots >= len(every):
            raise ConfigError(
                f"{task.name} has {len(every):,} items; {shots} of them as examples leave none to measure"
            )
        if isinstance(every[0], Program):
            if not run_programs:
                raise ConfigError(
                    f"{task.name} runs programs that the model writes on this machine, in a process with little time "
                    "and memory, but with your rights; allow it with --run-programs (run_programs=True)"
                )
            if unsolved := [one for one in every[:shots] if isinstance(one, Program) and not one.solution]:
                raise ConfigError(f"{unsolved[0].name} has no `answer`, and is an example; give one, or fewer shots")
        examples = "".join(one.shown + BETWEEN for one in every[:shots])
        chosen = every[shots:] if limit is None else every[shots : shots + limit]
        # Where the context holds the choice, no domain tells anything of what follows.
        if pmi and not ("characters" in task.scored and isinstance(every[0], Choices)):
            raise ConfigError(f"{task.name} has no choices that domain PMI could compare; leave out --pmi (pmi=True)")
        return cls(task, shots, examples, chosen, every, pmi, chat)

    @property
    def what(self) -> str:
        """The task and its prompts, in words."""
        return self.task.name + (f", {self.shots} shots" if self.shots else "") + (", chat" if self.chat else "")

    @property
    def scored(self) -> tuple[Scoring, ...]:
        """How choices are compared."""
        return (*self.task.scored, "pmi") if self.pmi else self.task.scored

    @property
    def digest(self) -> str:
        """SHA-256 of everything that an item's scores depend on but the model and the item."""
        form = [name for name, given in (("chat", self.chat), ("waits", self.task.waits)) if given]
        return hashlib.sha256(
            repr((self.task.name, self.examples, self.scored, self.task.longest, *form)).encode()
        ).hexdigest()
