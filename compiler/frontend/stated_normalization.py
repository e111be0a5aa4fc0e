"""The normalisation that a model file states: what its network was trained to see."""

from __future__ import annotations

from collections.abc import Mapping

from compressc.errors import HandOverError
from compressc.models.checkpoints import Normalization
from compressc.program import Program


def normalization_of(program: Program) -> Normalization | None:
    """Return what the file of a program says about the images it reads; None where it says nothing.

    Raises:
        HandOverError: if mean or std are missing, no finite numbers, or do not fit together.
    """
    for step in program.history:
        stated = step.settings.get("normalization")
        if stated is None:
            continue
        try:
            if not isinstance(stated, Mapping):
                raise TypeError("no mean and std")
            return Normalization(tuple(stated["mean"]), tuple(stated["std"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise HandOverError(
                f"the normalization in the file cannot be used ({_name_cause(error)}); save it "
                "with one finite mean and one std above 0 per channel"
            ) from error
    return None


def _name_cause(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
