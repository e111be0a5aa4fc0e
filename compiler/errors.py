"""Errors that users see.

Every error is one line that says what went wrong, where, and what to do about it. The command
line prints the line and exits with ``exit_code``; nothing else of the program reaches the user.
"""


class CompresscError(Exception):
    """Base of every error that compressc raises on purpose."""

    exit_code = 1


class HandOverError(CompresscError):
    """A model file, architecture or example input cannot be used as handed over."""

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


class RuleError(CompresscError):
    """An operation rule is inconsistent with the graph: a defect in compressc, not in the model."""

    exit_code = 70
