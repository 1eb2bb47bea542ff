"""What is held against each other, as tables: proxies, criteria of a board, curves, campaigns, a transferred blend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from blendsearch.cli.tables import duration, in_one_line, plain_table, spread
from blendsearch.results.words import (
    in_percent,
    percent,
    percent_and_deviation,
    percent_range,
    plain_points,
    plain_range,
    plural,
)

if TYPE_CHECKING:  # not loaded at run time, so that --help does not wait for them
    from blendsearch.results.records.audit import AuditSummary
    from blendsearch.results.records.common import BudgetRecord, Difference
    from blendsearch.results.records.compare import CampaignsRecord
    from blendsearch.results.records.curves import CurvesSummary
    from blendsearch.results.records.leaderboard import LeaderboardSummary
    from blendsearch.results.records.transfer import TransferSummary


def areas_table(summary: CurvesSummary) -> Table:
    """Return each criterion's mean accuracy over the shares removed, for each number of images, best first."""
    title = f"{summary.name}: mean test accuracy from 0 to {percent(summary.removed[-1])} removed"
    table = plain_table(title, "criterion", *(f"{count} per class" for count in summary.samples_per_class))
    for name, curves in summary.curves_by_criterion().items():
        table.add_row(name, *(percent(curve.area) for curve in curves))
    return table


def proxies_table(summary: AuditSummary, *, retrained: bool) -> Table:
    """Return each proxy's tau with the test accuracy, its interval, cost and regret, and the ceiling.

    retrained: whether plans were, else there is neither a cost to hold others against nor noise between seeds.
    """
    title = f"{summary.name}: {len(summary.plans)} plans, {plural(len(summary.plans[0].seeds), 'seed')}"
    costs = ["of a retraining's cost", "of its passes"] if retrained else []
    table = plain_table(title, "proxy", "tau", "95 % interval", *costs, "regret, points")
    ceiling = summary.ceiling
    if ceiling and retrained:
        table.add_row("noise ceiling", _number(ceiling.tau), _bounds(ceiling.interval), "", "", "")
    for name, proxy in summary.ranked:
        shares = ["-" if share is None else percent(share) for share in (proxy.cost, proxy.passes_cost)[: len(costs)]]
        table.add_row(
            name, _number(proxy.tau), _bounds(proxy.interval), *shares, in_percent(proxy.regret, otherwise="-")
        )
    return table


def leaderboard_table(summary: LeaderboardSummary) -> Table:
    """Return each criterion and blend with rank, accuracy, interval over seeds, wins against others, scoring time."""
    title = f"{summary.name}: {plural(len(summary.columns), 'column')}, {plural(summary.seeds, 'seed')}"
    table = plain_table(title, "criterion", "rank", "test accuracy", "95 % interval", "won/tied/lost", "scoring")
    for one in summary.criteria:
        table.add_row(
            one.name,
            _number(one.rank),
            percent(one.mean),
            percent_range(one.interval, otherwise="-"),
            "-" if one.rank is None else f"{one.wins}/{one.ties}/{one.losses}",
            duration(one.scoring_seconds),
            style="bold" if one.kind == "blend" else None,
        )
    return table


def cells_line(ran: int, cells: int) -> str:
    """Return how many cells of a board were run now, and how many were in the folder already."""
    if ran == cells:
        return f"all {cells} cells run" if cells > 1 else "the one cell run"
    return f"{ran or 'none'} of {cells} cells run, the other{'s were' if cells - ran > 1 else ' was'} there"


def campaigns_table(campaigns: CampaignsRecord) -> Table:
    """Return a line a campaign: what it pruned, its blend, its best criterion, and the difference."""
    table = plain_table("campaigns", "campaign", "budget", "blend", "best criterion", "difference", "verdict", "tau")
    for row in campaigns.rows:
        table.add_row(
            row.label,
            _budget(row.budget),
            percent_and_deviation(row.blend, row.std),
            f"{percent(row.best)} {row.best_criterion}",
            _difference(row),
            row.verdict,
            _number(row.tau),
        )
    return table


def settings_table(campaigns: CampaignsRecord) -> Table | str:
    """Return the keys in which the spaces of campaigns differ, with the value of each, or a line that none does."""
    if not campaigns.settings:
        return "their spaces are the same, names aside"
    table = plain_table("where their spaces differ", "key", *(row.label for row in campaigns.rows))
    for key, values in campaigns.settings.items():
        table.add_row(key, *(in_one_line(value) for value in values))
    return table


def pair_lines(campaigns: CampaignsRecord) -> list[str]:
    """Return a line for each campaign that was held against the first, or why it was not."""
    first = campaigns.rows[0].label
    lines = [
        f"blend of {pair.other} against that of {first}: {_difference(pair)} points, "
        f"{plural(pair.seeds, 'paired seed')}: {pair.verdict}"
        for pair in campaigns.pairs
    ]
    return lines + [
        f"{label} is not on equal terms with {first}, so they are not compared; differing: {', '.join(keys)}"
        for label, keys in campaigns.unequal.items()
    ]


def transfer_table(summary: TransferSummary) -> Table:
    """Return a line a space: the transferred blend, what stands against it there, and the differences in points."""
    blends, against = ("transferred", "searched there"), ("against criterion", "verdict", "against searched", "verdict")
    table = plain_table("a blend found elsewhere", "space", "budget", *blends, "best criterion", *against)
    for row in summary.spaces:
        best, searched = row.criteria[row.best_criterion], row.against_searched
        table.add_row(
            row.space,
            _budget(row.budget),
            spread(row.transferred),
            spread(row.searched) if row.searched else "-",
            f"{spread(best)} {row.label_of(row.best_criterion)}",
            _difference(row.against_criterion),
            row.against_criterion.verdict,
            _difference(searched) if searched else "-",
            searched.verdict if searched else "-",
        )
    return table


def transfer_lines(summary: TransferSummary) -> list[str]:
    """Return for each space by which rule the blend was adapted, and what else is to be known."""
    return [f"{row.space}: {' '.join([row.rule + '.', *row.notes, *row.twins])}" for row in summary.spaces]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bounds(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-"


def _budget(budget: BudgetRecord) -> str:
    return f"{budget.kind} {100 * budget.ratio:g} %"


def _difference(found: Difference) -> str:
    return plain_points(found.difference) + (f" ({plain_range(found.interval)})" if found.interval else "")
