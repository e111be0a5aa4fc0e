"""Judge: what turns a plan into a number, on any process."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass

from torch import Tensor, fx

from compressc.coupling.graph import Coupling, couple
from compressc.errors import TransportError
from compressc.plan import Plan
from compressc.program import Program
from compressc.rules.propagation import named_tensors
from compressc.search.batch_norms import reestimate_statistics
from compressc.search.candidates import build_candidate
from compressc.search.repair import CandidateRepair
from compressc.search.skeleton import pack_skeleton, strip_program
from compressc.search.validation_sample import count_validation
from compressc.tasks.protocol import Inputs, Task


@dataclass(frozen=True, eq=False)
class Judge:
    """The original network and the data that candidates are judged on.

    Attributes:
        module: the original, stripped.
        coupling: of the original.
        task: validates; see ``sample_validation``.
        calibration: batches on which batch norm statistics are measured anew; none to keep them.
        repair: changes the weights of candidates; None to judge them as they are cut.
    """

    module: fx.GraphModule
    coupling: Coupling
    task: Task
    calibration: tuple[Inputs, ...] = ()
    repair: CandidateRepair | None = None

    def judge(self, plan: Plan) -> float:
        """Return the metric of the network that a plan describes; the empty plan changes nothing.

        Raises:
            PlanError: if the plan does not fit.
        """
        if not plan:
            return float(self.task.validate(self.module))
        mended: dict[str, Tensor] = {}
        if self.repair is not None:
            mended = self.repair.mend(named_tensors(self.module), self.coupling, plan)
        samples = count_validation(self.task)
        candidate = build_candidate(self.module, self.coupling, plan, samples, mended)
        reestimate_statistics(candidate, self.calibration)
        return float(self.task.validate(candidate))

    def pack(self) -> bytes:
        """Return the judge as bytes.

        Raises:
            TransportError: if the task cannot be pickled.
        """
        skeleton = pack_skeleton(self.module)
        content = (skeleton, self.coupling, self.task, self.calibration, self.repair)
        try:
            return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
            raise TransportError(
                f"{type(self.task).__name__} cannot be sent to another process ({error}); "
                "search without workers, or make the task of importable functions and classes"
            ) from error


def make_judge(
    program: Program,
    task: Task,
    calibration: tuple[Inputs, ...] = (),
    repair: CandidateRepair | None = None,
) -> Judge:
    """Return the judge of a program's plans; a pending plan is ignored."""
    return Judge(strip_program(program), couple(program), task, calibration, repair)


def unpack_judge(packed: bytes) -> Judge:
    """Return the judge that :meth:`Judge.pack` packed; only ever called on our own bytes."""
    with warnings.catch_warnings():
        # torch compares its own classes in a way that it warns of itself.
        warnings.simplefilter("ignore", FutureWarning)
        skeleton, coupling, task, calibration, repair = pickle.loads(packed)
    return Judge(skeleton.build(), coupling, task, calibration, repair)
