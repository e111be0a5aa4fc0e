"""Errors that users see.

Every error is one line that says what went wrong, where, and what to do about it. The command
line prints the line and exits with ``exit_code``; nothing else of the program reaches the user.
Every class has a code of its own, listed in ``docs/errors.md``. The runtime, which stands alone on
devices, has one error of its own: :class:`compressc.runtime.errors.RuntimeFailure`.
"""


class CompresscError(Exception):
    """Base of every error that compressc raises on purpose."""

    exit_code = 1


class UsageError(CompresscError):
    """The command line does not make sense."""

    exit_code = 2


class CaptureError(CompresscError):
    """``torch.export`` cannot capture the model, or the captured graph is not supported."""

    exit_code = 3


class GoalError(CompresscError):
    """A goal is malformed, or cannot be reached on this model."""

    exit_code = 4


class PlanError(CompresscError):
    """A plan does not fit the program it is applied to."""

    exit_code = 5


class VerificationError(CompresscError):
    """The compressed model failed its proof; no output is written."""

    exit_code = 6


class OutputError(CompresscError):
    """An output file cannot be written."""

    exit_code = 7


class ExportError(CompresscError):
    """A program cannot be written as ONNX, or the ONNX model is not valid."""

    exit_code = 8


class ExecutorError(CompresscError):
    """Workers cannot be started or reached, or are lost again and again."""

    exit_code = 9


class HandOverError(CompresscError):
    """A model file, architecture or example input cannot be used as handed over."""

    exit_code = 10


class DataError(CompresscError):
    """Data cannot be used as handed over, or does not fit the model."""

    exit_code = 11


class PrecisionError(ExportError):
    """Int8 was asked for where it makes no sense."""

    exit_code = 12


class HistoryError(CompresscError):
    """A file with the history of a search cannot be read."""

    exit_code = 13


class SearchError(CompresscError):
    """A search spent its budget and found no candidate that is good enough."""

    exit_code = 14


class TransportError(CompresscError):
    """Something cannot be sent to another process."""

    exit_code = 15


class PolicyError(CompresscError):
    """A file with trained agents (DECORE), or with a policy network (RL-MCTS), cannot be used."""

    exit_code = 16


class PassError(CompresscError):
    """A pass does something that it does not declare."""

    exit_code = 18


class NoIdentityError(CompresscError):
    """A value is nothing that another process could know again, such as an open file or a lock."""

    exit_code = 19


class FeatureError(CompresscError):
    """A feature is unknown, asked for without what it is measured on, or no number."""

    exit_code = 20


class ConversionError(CaptureError):
    """ONNX Runtime runs a file whose network cannot be taken over, so that nothing can leave it."""

    exit_code = 21


class ChoiceError(CompresscError):
    """An architecture choice is undecided where a network is needed, or there is none to decide."""

    exit_code = 30


class SpaceError(CompresscError):
    """A search space does not exist, or cannot be built as asked for."""

    exit_code = 31


class ImageSizeError(CompresscError):
    """Images are too small for what a search space reduces them to."""

    exit_code = 32


class SplitError(CompresscError):
    """Data are too few to be split into what a search trains on and what it judges by."""

    exit_code = 33


class BudgetError(CompresscError):
    """A budget is too small for a search to begin."""

    exit_code = 34


class ControllerError(CompresscError):
    """What proposes architectures has become no number."""

    exit_code = 35


class RuleError(CompresscError):
    """An operation rule is inconsistent with the graph: a defect in compressc, not in the model."""

    exit_code = 70
