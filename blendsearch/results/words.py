"""Numbers as people read them: percent, percentage points, counts, durations."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "–"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share in [0, 1] as percent, or a dash."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def cost_name(kind: str) -> str:
    """Return a kind of cost as pages call it."""
    return {"flops": "FLOPs", "params": "parameters"}.get(kind, kind)


def points(difference: float) -> str:
    """Return a difference of two shares in percentage points with its sign."""
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def interval(bounds: tuple[float, float] | None) -> str:
    """Return a 95 % interval of percentage points, or nothing."""
    return f"[{points(bounds[0])}, {points(bounds[1])}]" if bounds else ""


def budget_words(kind: str, ratio: float) -> str:
    """Return what a budget keeps, for example '50 % of FLOPs'."""
    return f"{100 * ratio:g} % of {cost_name(kind)}"


def verdict_sentence(
    who: str, rival: str, difference: float, bounds: Sequence[float] | None, verdict: str, seeds: int
) -> str:
    """Return what a paired difference of test accuracies (who - rival, in [0, 1]) says, as a sentence."""
    difference_words = f"{100 * difference:+.2f} points"
    if bounds is None:
        return f"After equal retraining {who} is {difference_words} from {rival}; one seed tests nothing."
    range_ = f"95 % interval {100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f}, {seeds} paired seeds"
    subject = who[0].upper() + who[1:]
    words = {
        "beats": f"{subject} beats {rival}",
        "worse": f"{subject} is worse than {rival}",
        "no difference shown": f"No difference shown between {who} and {rival}",
    }
    return f"{words[verdict]}: {difference_words} of test accuracy ({range_})."


def count(number: float | None) -> str:
    """Return a count in its natural size: 1,250, 40.6 k, 40.6 M, 1.82 G."""
    if number is None:
        return DASH
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{number:,.0f}"


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
