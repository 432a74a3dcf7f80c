"""What the probes found: an `Outcome` of each, and `Behaviour`, all of them together, with what they disable."""

from __future__ import annotations

from typing import Literal

import msgspec

Ability = Literal["enrolment", "local_reply", "swallow"]
"""What a failing probe can take away: L7 policy here; answers in the server's place; taking bytes out unnoticed."""

State = Literal["ok", "fails", "unknown"]

_SAID = {"fails": "fails", "unknown": "has no answer"}


class Outcome(msgspec.Struct, frozen=True):
    """A probe's answer.

    ``state`` is "unknown" where the probe could not be made, or where an ordinary socket does not do it here either.
    ``text`` says what was seen, ``remedy`` what can be done about it, ``seconds`` how long it took. ``disables`` is what
    must not be used where it fails; where it is empty, programs that rely on the behaviour do not work on enrolled sockets.
    """

    name: str
    proves: str
    state: State
    text: str = ""
    remedy: str = ""
    disables: tuple[Ability, ...] = ()
    seconds: float = 0.0


class Behaviour(msgspec.Struct, frozen=True):
    """What this kernel does with enrolled sockets: ``outcomes`` in the order of the probes.

    ``kernel`` is its release; ``remembered`` says that the probes were made earlier since the same boot; ``seconds`` is how
    long all of it took when it was made.
    """

    kernel: str
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0
    remembered: bool = False

    @property
    def disabled(self) -> frozenset[Ability]:
        """What is not safe here: what a failing probe disables, and of what could not be told all but enrolment.

        A local reply that was never seen to work is replaced by a refusal, which always works; enrolment is not given up
        for a probe that could not be made.
        """
        found: set[Ability] = set()
        for one in self.outcomes:
            if one.state == "fails":
                found.update(one.disables)
            elif one.state == "unknown":
                found.update(ability for ability in one.disables if ability != "enrolment")
        return frozenset(found)

    @property
    def reasons(self) -> dict[Ability, str]:
        """Of everything in `disabled`, the probe that took it away and what it saw: one that failed, if any did."""
        found: dict[Ability, str] = {}
        for ability in sorted(self.disabled):
            blamed = [one for one in self.outcomes if ability in one.disables and one.state != "ok"]
            one = min(blamed, key=lambda one: one.state != "fails")
            found[ability] = f"probe {one.name} {_SAID[one.state]}: {one.text}"
        return found

    @property
    def tentative(self) -> bool:
        """Whether something is disabled only for want of an answer, which another attempt may bring."""
        failed = {ability for one in self.failing for ability in one.disables}
        return not self.disabled <= failed

    @property
    def failing(self) -> tuple[Outcome, ...]:
        """The probes that failed, those that disable something first."""
        return tuple(
            sorted((one for one in self.outcomes if one.state == "fails"), key=lambda one: not one.disables)
        )

    @property
    def conclusive(self) -> bool:
        """Whether every probe has an answer."""
        return bool(self.outcomes) and all(one.state != "unknown" for one in self.outcomes)

    def of(self, name: str) -> Outcome:
        """The outcome of the probe called ``name``. Errors: KeyError."""
        for one in self.outcomes:
            if one.name == name:
                return one
        raise KeyError(name)
