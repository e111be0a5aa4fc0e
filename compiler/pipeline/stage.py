"""A stage: one step of the pipeline, with its title and the case in which it is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressc.pipeline.artifact import Artifact


def always(_artifact: Artifact) -> bool:
    """Return True: nothing ever makes the stage needless."""
    return True


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        title: what the user reads while it runs; empty for a stage that announces its own parts.
        work: returns the artifact with what the stage adds.
        needed: says whether there is anything to do.
    """

    title: str
    work: Callable[[Artifact], Artifact]
    needed: Callable[[Artifact], bool] = always


def run_stages(stages: Sequence[Stage], artifact: Artifact) -> Artifact:
    """Return the artifact after all stages that are needed.

    Raises:
        CompresscError: from the stage that failed.
    """
    for stage in stages:
        if not stage.needed(artifact):
            continue
        if stage.title:
            with artifact.clock.stage(stage.title):
                artifact = stage.work(artifact)
        else:
            artifact = stage.work(artifact)
    return artifact
