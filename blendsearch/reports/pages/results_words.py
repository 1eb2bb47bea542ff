"""What is said below the result table of a campaign: how to read it, and what its numbers are of."""

from __future__ import annotations

from collections.abc import Sequence

from blendsearch.reports.after import after_pruning
from blendsearch.results.outcomes import PairedDifference, Result
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import plural


def tell_results(run: SearchRun, ranked: Sequence[Result], against: Sequence[PairedDifference]) -> list[str]:
    """Return the sentences of the table's caption."""
    sentences = [_marks(ranked), _differences(run, against), _stage(run, ranked), _labels(run)]
    known = [sentence for sentence in sentences if sentence]
    return [*known, "FLOPs (one multiply-accumulate is one) and parameters are shares of the original network's."]


def _marks(ranked: Sequence[Result]) -> str:
    """Say how the lines are ordered, what their marks are, and how many seeds are behind each."""
    order = "Sorted by mean test accuracy, equal ones share a place; "
    seeds = {item.seeds for item in ranked}
    each = f", of {plural(seeds.pop(), 'seed')} each" if len(seeds) == 1 else ""
    if all(item.std is None for item in ranked):
        return f"{order}the marks are ◆ the blend, ■ the best criterion, ● the others{each}."
    return (
        f"{order}large marks are means{each} (◆ blend, ■ best criterion, ● the others), ± and bars one standard "
        "deviation over the seeds, small dots single seeds."
    )


def _differences(run: SearchRun, against: Sequence[PairedDifference]) -> str:
    if not against:
        return ""
    if all(one.interval is None for one in against):
        return "Differences are paired by seed and have no interval."
    basis = run.summary.comparison.basis
    from_ = f" from {basis}" if basis else " over the seeds (Student's t)"
    return f"Differences are paired by seed, with 95 % intervals{from_}, each for itself."


def _stage(run: SearchRun, ranked: Sequence[Result]) -> str:
    """Say when accuracies were read: after retraining, or without any."""
    if not after_pruning(run.space).retrained:
        refitted = " and refitted without labels" if run.space.get("compensation") else ""
        return (
            "Nothing was retrained (retraining.epochs is 0): accuracies are those of networks that were "
            f"pruned{refitted}."
        )
    words = "Test and search-split accuracy are measured after retraining, the proxy before it."
    if all(item.pruned_test_accuracy is None for item in ranked):
        return words
    return f"{words} Before retraining: the test accuracy right after pruning, read at the end with the other."


def _labels(run: SearchRun) -> str:
    if run.summary.data.labels != "predicted":
        return ""
    return (
        "On the search split the unpruned network's predictions stand for labels: accuracy there is agreement with it."
    )
