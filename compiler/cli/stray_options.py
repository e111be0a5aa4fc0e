"""What to say about options that a command does not know: where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from compressc.cli.parsing import field_options
from compressc.contract.registry import find_pass, registered_passes
from compressc.errors import CompresscError

# Options that people look for where they are not.
_ELSEWHERE: Mapping[str, str] = {
    "--targets": "belongs to `compressc sweep`",
    "--target-kind": "belongs to `compressc sweep`",
    "--group": "belongs to `compressc inspect`",
    "--epochs": "belongs to passes that train",
}


def explain_stray(extras: Sequence[str], known: Sequence[str]) -> str:
    """Return one sentence about the first word that a command does not take.

    Args:
        extras: the words that were left over.
        known: the options that the command has.
    """
    word = next((extra for extra in extras if extra.startswith("-")), extras[0])
    flag = word.partition("=")[0]
    if not flag.startswith("-"):
        return f"{word}: one model at a time, and this is a second word without an option"
    owners = _owners_of(flag)
    if owners:
        others = f" (or {', '.join(owners[1:])})" if len(owners) > 1 else ""
        return f"{flag} is an option of --pass {owners[0]}{others}, which does not run; add it"
    if flag in _ELSEWHERE:
        return f"{flag} {_ELSEWHERE[flag]}"
    near = get_close_matches(flag, known, n=1)
    return f"{flag}: no such option" + (f"; did you mean {near[0]}?" if near else "")


def _owners_of(flag: str) -> list[str]:
    owners = []
    for name in sorted(registered_passes()):
        try:
            options = field_options(find_pass(name))
        except CompresscError:
            continue
        if any(option.flag == flag for option in options):
            owners.append(name)
    # Those that most people mean stand first.
    first = [name for name in ("finetune", "distill", "magnitude", "sparsify") if name in owners]
    return [*first, *(name for name in owners if name not in first)]
