"""Numbers as people read them: percent, percentage points, intervals, counts, durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "–"
MINUS = "−"

COSTS = {"flops": "FLOPs", "params": "parameters"}
"""Kinds of cost whose names pages write otherwise."""

DROP_LOSS = "drop loss"
"""What a set-aware blend's exponent weighs, among the criteria that its factors weigh."""


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share in [0, 1] as percent, or a dash."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def in_percent(share: float | None, digits: int = 2, otherwise: str = DASH) -> str:
    """Return a share in per cent without the sign, which the column's head has."""
    return otherwise if share is None else f"{100 * share:.{digits}f}"


def percent_range(bounds: Sequence[float] | None, digits: int = 2, otherwise: str = DASH) -> str:
    """Return for example '96.12 to 97.30' of two shares in [0, 1], in per cent without the sign."""
    return f"{100 * bounds[0]:.{digits}f} to {100 * bounds[1]:.{digits}f}" if bounds else otherwise


def mean_and_deviation(mean: float | None, deviation: float | None, otherwise: str = DASH) -> str:
    """Return '97.25 ± 0.12' in per cent, or '97.25' where there is no deviation, as of one seed."""
    return in_percent(mean, otherwise=otherwise) + ("" if deviation is None else f" ± {in_percent(deviation)}")


def percent_and_deviation(mean: float, deviation: float | None) -> str:
    """Return '97.25 % ± 0.12', or '97.25 %' where there is no deviation, as of one seed."""
    return percent(mean) + ("" if deviation is None else f" ± {in_percent(deviation)}")


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number such as a proxy's or a tau, or a dash."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def decimal_range(bounds: Sequence[float] | None, digits: int = 2, otherwise: str = DASH) -> str:
    """Return for example '−0.12 to 0.86'."""
    return f"{decimal(bounds[0], digits)} to {decimal(bounds[1], digits)}" if bounds else otherwise


def points(difference: float | None) -> str:
    """Return a difference of two shares in percentage points with its sign, or a dash."""
    if difference is None:
        return DASH
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", MINUS)


def interval(bounds: Sequence[float] | None) -> str:
    """Return a 95 % interval of percentage points, or nothing."""
    return f"[{points(bounds[0])}, {points(bounds[1])}]" if bounds else ""


def points_and_interval(difference: float, bounds: Sequence[float] | None) -> str:
    """Return a difference with its interval where it has one, for example '+0.95 [+0.34, +1.56]'."""
    return f"{points(difference)} {interval(bounds)}".strip()


def plain_points(difference: float) -> str:
    """Return percentage points with an ASCII sign, for sentences, terminals and text files."""
    return f"{100 * difference:+.2f}"


def plain_range(bounds: Sequence[float]) -> str:
    """Return an interval as `plain_points`, for example '+0.34 to +1.56'."""
    return f"{plain_points(bounds[0])} to {plain_points(bounds[1])}"


def milliseconds(value: float | None) -> str:
    """Return for example '0.52 ms', or a dash."""
    return DASH if value is None else f"{value:.2f} ms"


def plural(number: int, noun: str) -> str:
    """Return '1 seed' or '3 seeds'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def count_criteria(number: int) -> str:
    """Return '1 criterion' or '3 criteria'."""
    return "1 criterion" if number == 1 else f"{number} criteria"


def rank_words(rank: int, possible: tuple[int, int] | None) -> str:
    """Return the ranks that are possible, '2' or '2 to 5'; the one that was measured where that is all one knows."""
    if possible is None:
        return str(rank)
    first, last = possible
    return str(first) if first == last else f"{first} to {last}"


def join_words(words: Sequence[str]) -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def part_name(part: object) -> str:
    """Return the name of an allocation, schedule or proxy given as name or as {name, options}."""
    return str(part.get("name", DASH)) if isinstance(part, dict) else DASH if part is None else str(part)


def cost_name(kind: str) -> str:
    """Return a kind of cost as pages call it."""
    return COSTS.get(kind, kind)


def budget_words(kind: str, ratio: float) -> str:
    """Return what a budget keeps, for example '50 % of FLOPs'."""
    return f"{100 * ratio:g} % of {cost_name(kind)}"


def nothing_tested(seeds: int) -> str:
    """Return why paired seeds give no interval."""
    return "one seed tests nothing" if seeds < 2 else f"{seeds} seeds that are all alike test nothing"


def verdict_sentence(
    who: str,
    baseline: str,
    difference: float,
    bounds: Sequence[float] | None,
    verdict: str,
    seeds: int,
    basis: str | None = None,
    remedy: str = "",
    trained: bool = True,
) -> str:
    """Return what a paired difference of test accuracies (who - baseline, in [0, 1]) says, as a sentence.

    basis: what the interval comes from; None for the seeds. remedy: what would tell, where it is not told yet.
    trained: whether both were retrained.
    """
    difference_words = f"{plain_points(difference)} points"
    more = f"; {remedy}" if remedy else ""
    if bounds is None:
        when = "After equal retraining" if trained else "Without retraining"
        return f"{when} {who} is {difference_words} from {baseline}; {nothing_tested(seeds)}{more}."
    range_ = f"95 % interval {plain_range(bounds)}, {basis or f'{seeds} paired seeds'}"
    subject = who[0].upper() + who[1:]
    if verdict == "undecided":
        if not difference:
            return f"Undecided: {who} comes out level with {baseline}, by chance perhaps ({range_}){more}."
        side = "above" if difference > 0 else "below"
        gap = f"{100 * abs(difference):.2f} points {side}"
        return f"Undecided: {who} is {gap} {baseline}, which chance alone could do ({range_}){more}."
    words = {
        "beats": f"{subject} beats {baseline}",
        "worse": f"{subject} is worse than {baseline}",
        "no difference shown": f"No difference shown between {who} and {baseline}",  # of older versions
        "equal": f"{subject} and {baseline} are equal {equal_words(bounds)}",
    }
    return f"{words[verdict]}: {difference_words} of test accuracy ({range_})."


def equal_words(bounds: Sequence[float]) -> str:
    """Return how equal two are whose difference lies in an interval, for example 'within ±0.42 points'."""
    return f"within ±{100 * max(abs(bound) for bound in bounds):.2f} points"


def verdict_words(verdict: str, bounds: Sequence[float] | None = None) -> str:
    """Return a verdict as it stands alone: 'equal within ±0.42 points' where the interval says how equal."""
    return f"equal {equal_words(bounds)}" if verdict == "equal" and bounds else verdict


def count(number: float | None) -> str:
    """Return a count in its natural size: 1,250, 40.6 k, 40.6 M, 1.82 G."""
    if number is None:
        return DASH
    if number < 1e4:
        return f"{number:,.0f}"
    units = ((1e3, "k"), (1e6, "M"), (1e9, "G"))
    # 999,600 is 1 M and not 1,000 k, since three figures are told.
    size, letter = next((one for one in units if number / one[0] < 999.5), units[-1])
    shown = number / size
    return f"{shown:.3g} {letter}" if shown < 999.5 else f"{shown:,.0f} {letter}"


def about_seconds(seconds: float) -> str:
    """Return an estimate of a duration with no more figures than it deserves: 0.4 s, 42 s, 12 minutes, 2.5 hours."""
    if seconds < 59.5:
        return duration(seconds)
    units = ((60, "minute", 59.5), (3600, "hour", 48), (86_400, "day", math.inf))
    count, unit = next((seconds / size, unit) for size, unit, most in units if seconds / size < most)
    text = f"{count:.1f}".removesuffix(".0") if count < 9.5 else f"{count:.0f}"
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"


def duration(seconds: float | None) -> str:
    """Return seconds as 38 ms, 0.4 s, 42 s, 3 min 20 s or 2 h 05 min."""
    if seconds is None:
        return DASH
    if 0 < seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
