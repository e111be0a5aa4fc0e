"""The verdict: every check of a compression, with its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compressc.errors import VerificationError

Number = float | int | str


@dataclass(frozen=True)
class Check:
    """One check: what was compared, whether it held, and the numbers it was judged by.

    Attributes:
        name: what has to hold, such as "lowered == masked".
        passed: whether it does.
        text: the numbers in one readable line.
        numbers: the same numbers by name.
    """

    name: str
    passed: bool
    text: str
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All checks of one compression."""

    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there was at least one."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def with_check(self, check: Check) -> Verdict:
        """Return this verdict with one more check.

        Raises:
            VerificationError: if the check failed.
        """
        if not check.passed:
            raise VerificationError(
                f"verification failed: {check.name} does not hold ({check.text}); "
                "nothing was written"
            )
        return Verdict((*self.checks, check))

    def dated(self, when: str) -> Verdict:
        """Return this verdict with ``when`` its checks were made; checks to come have none."""
        return Verdict(
            tuple(
                check if when in check.text else replace(check, text=f"{check.text}; {when}")
                for check in self.checks
            )
        )

    def summary(self) -> str:
        """Return the checks as one line of JSON, for the metadata of the ONNX file."""
        return json.dumps({check.name: check.text for check in self.checks})
