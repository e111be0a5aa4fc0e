"""Several sessions of each file, so that what differs between sessions is measured, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compressc.runtime.timing import Run, Series, join, rotate, time_rounds, warm_up

LEAST_SESSIONS, MOST_SESSIONS = 4, 10


def plan_sessions(seconds: float, open_seconds: float, rounds: int) -> int:
    """Return how often every file is opened: often, where opening costs less than measuring.

    Args:
        seconds: of all rounds together.
        open_seconds: to open every file once.
        rounds: how many there are; a session gets one at least.
    """
    affordable = int(seconds / open_seconds) if open_seconds > 0 else MOST_SESSIONS
    return max(1, min(rounds, MOST_SESSIONS, max(LEAST_SESSIONS, affordable)))


def split(rounds: int, sessions: int) -> tuple[int, ...]:
    """Return the rounds of each session, as even as can be."""
    base, more = divmod(rounds, sessions)
    return tuple(base + (number < more) for number in range(sessions))


def time_sessions(
    openers: Sequence[Callable[[], Run]],
    first: Sequence[Run],
    call_ms: Sequence[float],
    rounds: int,
    sessions: int,
    *,
    warmup_seconds: float,
    keep: bool,
    on_round: Callable[[int], None] | None = None,
) -> tuple[Series, ...]:
    """Time all contestants in interleaved rounds, with fresh sessions every so many rounds.

    Args:
        openers: open a contestant anew and return what runs it once.
        first: runs of sessions that are open and warm already; they are the first ones.
        call_ms: about how long a call of each takes.
        rounds: over all sessions.
        sessions: how often each contestant is open, the first time included.
        warmup_seconds: the most that warming up all later sessions of one contestant may take.
        keep: whether earlier sessions stay open, so that later ones get other memory.
        on_round: told the number of rounds done.

    Returns:
        One series per contestant.
    """
    parts: list[list[Series]] = [[] for _ in openers]
    held: list[Sequence[Run]] = []
    done = 0
    for number, share in enumerate(split(rounds, sessions)):
        runs = first
        if number:
            if not keep:
                held.clear()
            # Who is opened first takes turns, too: memory is handed out in order.
            opened = {place: openers[place]() for place in rotate(len(openers), number)}
            runs = [opened[place] for place in range(len(openers))]
            for run in runs:
                warm_up(run, warmup_seconds / sessions)
        held.append(runs)
        begun = done

        def report(inside: int, begun: int = begun) -> None:
            if on_round is not None:
                on_round(begun + inside)

        series = time_rounds(runs, call_ms, share, on_round=report, first_round=done)
        for mine, taken in zip(parts, series, strict=True):
            mine.append(taken)
        done += share
    return tuple(join(mine) for mine in parts)
