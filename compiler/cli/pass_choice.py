"""Which passes a command line runs: those it names, or those of the default recipe."""

from __future__ import annotations

from collections.abc import Sequence

from compressc.cli.parsing import ChosenPass, Parser, add_pass_options, values_of


def choose_passes(
    parser: Parser,
    arguments: Sequence[str],
    *,
    has_target: bool,
    latency: bool,
    zeros_may_do: bool,
) -> list[ChosenPass]:
    """Import the passes in play and add their options to the parser.

    Args:
        parser: gets the options.
        arguments: the command line, before it is parsed.
        has_target: whether the command line gives a bound that channels can meet.
        latency: whether that bound is one on time.
        zeros_may_do: whether ``--sparsity`` alone can meet what is asked for.

    Returns:
        The passes chosen, in order; filled while the parser parses.
    """
    from compressc.contract.registry import find_pass
    from compressc.pipeline.default_recipe import choose_recipe

    named = values_of(arguments, "--pass")
    sparse = bool(values_of(arguments, "--sparsity"))
    implied: tuple[str, ...] = ()
    if not named and not (sparse and zeros_may_do):
        samples = bool(values_of(arguments, "--data")) or "--no-repair" not in arguments
        implied = choose_recipe(latency=latency, samples=samples)
    known = [*named, *implied, *(["sparsify"] if sparse else [])]
    classes = {name: find_pass(name) for name in dict.fromkeys(known)}
    # A ratio per layer says what is to leave as a target does.
    removes = has_target or bool(values_of(arguments, "--ratios"))
    return add_pass_options(parser, classes, implied if removes else ())


def wants_samples(chosen: Sequence[ChosenPass]) -> bool:
    """Return whether a pass of the default recipe needs samples, real or synthetic."""
    return any(entry.implied and entry.pass_class.declares.needs == "samples" for entry in chosen)
