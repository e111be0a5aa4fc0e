"""Training of agents, with or without the network."""

from __future__ import annotations

from dataclasses import fields, replace

from compressc.contract.context import Context
from compressc.passes.decore.agent_lesson import AgentLesson
from compressc.passes.decore.exercises import Exercise, FrozenExercise, JointExercise
from compressc.passes.decore.penalty_control import PenaltyControl
from compressc.passes.decore.policies import Policies, check_sampling
from compressc.passes.decore.settings import DecoreSettings
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import GatedUnits
from compressc.passes.training.engine import Course, run_epochs
from compressc.passes.training.precision import choose_precision
from compressc.passes.training.processes import Processes
from compressc.passes.training.settings import TrainingSettings
from compressc.passes.training.standing import Standing
from compressc.plan import Plan
from compressc.program import Program
from compressc.store.identity import identify
from compressc.store.store import Store
from compressc.tasks.protocol import require_task
from compressc.tasks.training_length import count_training_steps

# Fields that say what becomes of the policies, not how they are trained.
_AFTERWARDS = ("floor", "policies", "analysis")


def train_agents(
    program: Program, agents: GatedUnits, settings: DecoreSettings, context: Context
) -> TrainedAgents:
    """Return the agents' weights, and the network's where it learned along.

    Args:
        program: stays as it is.
        agents: of the program.
        settings: how to train.
        context: task, seed, progress, and where state goes.

    Raises:
        DataError: if there is no task, no training data, or nobody knows which samples are right.
        PlanError: if images cannot have actions of their own.
        OutputError: if state cannot be read or written.
    """
    task = require_task(context.task, "decore")
    if settings.sampling == "image":
        check_sampling(agents)
    processes = Processes()
    steps = count_training_steps(task, context.goal.seed, "decore")
    identity = identify_training(program, settings, context)
    processes.require_same(identity, "program")
    precision = choose_precision(settings.precision, processes.device)
    policies = Policies(
        agents,
        settings.first_weight,
        settings.agent_rate,
        settings.sampling,
        settings.baseline,
        settings.penalty,
        processes,
    )
    parts = (task, agents, policies, processes, precision)
    total = steps * settings.epochs
    exercise: Exercise
    if settings.mode == "joint":
        exercise = JointExercise(program, _plain(settings), total, *parts)
    else:
        exercise = FrozenExercise(program, settings.channels_last, *parts)
    control = None
    if settings.adapt_penalty and context.goal.bounds:
        control = PenaltyControl(
            program, agents, context.goal, settings.first_weight, settings.penalty, total
        )
    course = Course(
        name="decore",
        task=task,
        seed=context.goal.seed,
        epochs=settings.epochs,
        steps=steps,
        keeps="last",
        patience=0,
        processes=processes,
        store=None if context.work_dir is None else Store(context.work_dir, identity),
        progress=context.progress,
    )
    standing = run_epochs(course, AgentLesson(task, exercise, policies, control, steps))
    weights = standing.kept["agents"].double().cpu().numpy()
    network = standing.kept["network"]
    if network is not None:
        network = {name: tensor.cpu() for name, tensor in network.items()}
    return TrainedAgents(weights, network, _describe(standing, settings, control is not None))


def identify_training(program: Program, settings: DecoreSettings, context: Context) -> str:
    """Return a digest of everything that decides what training results in."""
    constraints = replace(program.constraints, multiple_of=1)
    bare = replace(program, plan=Plan(), constraints=constraints)
    chosen = [
        (field.name, getattr(settings, field.name))
        for field in fields(settings)
        if field.name not in _AFTERWARDS
    ]
    aim = context.goal.bounds if settings.adapt_penalty else {}
    return identify(
        "agents",
        chosen,
        aim,
        context.goal.seed,
        Processes().count,
        program=bare,
        task=context.task,
        seed=context.goal.seed,
        kept=context.work_dir is not None,
    )


def _plain(settings: DecoreSettings) -> TrainingSettings:
    return TrainingSettings(
        **{item.name: getattr(settings, item.name) for item in fields(TrainingSettings)}
    )


def _describe(standing: Standing, settings: DecoreSettings, is_controlled: bool) -> tuple[str, ...]:
    """Return remarks on a finished training."""
    dropped = 100 * float((standing.kept["agents"] < 0).float().mean())
    notes = [
        f"{standing.epoch} of {settings.epochs} epochs ({settings.mode}); {dropped:.1f} % of the "
        f"agents drop their channel, search-validation {standing.metric:.2f} without them"
    ]
    if is_controlled:
        notes.append(f"the penalty ended at {standing.kept['penalty']:.3g}")
    if standing.remark:
        notes.append(standing.remark)
    if standing.diverged:
        rates = f"{settings.peak_rate:g}, or agent_rate than {settings.agent_rate:g}"
        notes.append(
            f"training stopped: {standing.diverged}; what was learned up to epoch "
            f"{standing.epoch} is used; give a lower learning rate than {rates}"
        )
    return tuple(notes)
