"""Results as tables; whoever calls prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

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
    from blendsearch.results.records.common import (
        AgreementRecord,
        Averages,
        BudgetRecord,
        Difference,
        LatencyRecord,
        Seconds,
    )
    from blendsearch.results.records.compare import CampaignRow, CampaignsRecord
    from blendsearch.results.records.curves import CurvesSummary
    from blendsearch.results.records.leaderboard import LeaderboardSummary
    from blendsearch.results.records.scoring import RatersRecord
    from blendsearch.results.records.search import SearchSummary
    from blendsearch.results.records.single import (
        CriterionAgreement,
        PruneSummary,
        SensitivityRecord,
        TrainSummary,
    )
    from blendsearch.results.records.transfer import TransferSummary


def plain_table(title: str, *columns: str) -> Table:
    """Return an empty table; columns after the first stand at the right."""
    table = text_table(title, *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def text_table(title: str, *columns: str) -> Table:
    """Return an empty table whose columns stand at the left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def result_table(summary: SearchSummary) -> Table:
    """Return the unpruned network, the blend and the criteria, best first, with accuracy and what remains."""
    title = f"{summary.name}: {summary.budget.kind} budget {percent(summary.budget.ratio)}"
    seeds = plural(summary.seeds, "seed")
    table = plain_table(title, "network", f"test accuracy ({seeds})", "FLOPs", "parameters")
    table.add_row("not pruned", percent(summary.unpruned.test_accuracy), percent(1), percent(1))
    table.add_row(*_result_cells("blend", summary.blend), style="bold")
    if summary.random_search is not None:
        table.add_row(*_result_cells("random search", summary.random_search))
    for name, part in summary.ablation.items():
        table.add_row(*_result_cells(name, part))
    for name, result in sorted(summary.criteria.items(), key=lambda item: -item[1].test_accuracy):
        own = result.allocation
        label = f"{name} ({own})" if own and own != summary.allocation else name
        table.add_row(*_result_cells(label, result))
    return table


def verdicts(summary: SearchSummary) -> list[str]:
    """Return what follows from the differences: against the best criterion, by chance, and of the blend's parts."""
    comparison = summary.comparison
    sentences = [comparison.sentence, *(part.sentence for part in summary.ablation.values())]
    if comparison.random_search is not None:
        sentences.insert(1, comparison.random_search.sentence)
    return [sentence for sentence in sentences if sentence is not None]


def _result_cells(name: str, result: Averages) -> list[str]:
    return [name, _spread(result), percent(result.flops_ratio), percent(result.params_ratio)]


def front_table(summary: SearchSummary) -> list[Table]:
    """Return the front with each point's blend and criterion, where the search had several objectives."""
    if not summary.front:
        return []
    kinds = list(summary.front[0].shares)
    table = plain_table("front", "point", *kinds, "blend", "criterion", "accuracy", "difference")
    for point in summary.front:
        shares = [percent(point.shares[kind]) for kind in kinds]
        blend, other = percent(point.test_accuracy), percent(point.criterion.test_accuracy)
        difference = "" if point.difference is None else plain_points(point.difference)
        table.add_row(str(point.place), *shares, blend, point.criterion.name, other, difference)
    return [table]


def areas_table(summary: CurvesSummary) -> Table:
    """Return each criterion's mean accuracy over the shares removed, for each number of images, best first."""
    title = f"{summary.name}: mean test accuracy from 0 to {percent(summary.removed[-1])} removed"
    table = plain_table(title, "criterion", *(f"{count} per class" for count in summary.samples_per_class))
    for name, curves in summary.curves_by_criterion().items():
        table.add_row(name, *(percent(curve.area) for curve in curves))
    return table


def proxies_table(summary: AuditSummary) -> Table:
    """Return each proxy's tau with the accuracy after retraining, its interval, cost and regret, and the ceiling."""
    title = f"{summary.name}: {len(summary.plans)} plans, {plural(len(summary.plans[0].seeds), 'seed')}"
    table = plain_table(
        title, "proxy", "tau", "95 % interval", "of a retraining's cost", "of its passes", "regret, points"
    )
    ceiling = summary.ceiling
    if ceiling:
        table.add_row("noise ceiling", _number(ceiling.tau), _bounds(ceiling.interval), "", "", "")
    for name, proxy in summary.ranked:
        shares = ["-" if share is None else percent(share) for share in (proxy.cost, proxy.passes_cost)]
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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bounds(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-"


def campaigns_table(rows: Sequence[CampaignRow]) -> Table:
    """Return a line a campaign: what it pruned, its blend, its best criterion, and the difference."""
    table = plain_table("campaigns", "campaign", "budget", "blend", "best criterion", "difference", "verdict", "tau")
    for row in rows:
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


def settings_table(rows: Sequence[CampaignRow], settings: Mapping[str, Sequence[Any]]) -> Table | str:
    """Return the keys in which the spaces of campaigns differ, with the value of each, or a line that none does."""
    if not settings:
        return "their spaces are the same, names aside"
    table = plain_table("where their spaces differ", "key", *(row.label for row in rows))
    for key, values in settings.items():
        table.add_row(key, *(_cell(value) for value in values))
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
            _spread(row.transferred),
            _spread(row.searched) if row.searched else "-",
            f"{_spread(best)} {row.label_of(row.best_criterion)}",
            _difference(row.against_criterion),
            row.against_criterion.verdict,
            _difference(searched) if searched else "-",
            searched.verdict if searched else "-",
        )
    return table


def transfer_lines(summary: TransferSummary) -> list[str]:
    """Return for each space by which rule the blend was adapted, and what else is to be known."""
    return [f"{row.space}: {' '.join([row.rule + '.', *row.notes, *row.twins])}" for row in summary.spaces]


def _budget(budget: BudgetRecord) -> str:
    return f"{budget.kind} {100 * budget.ratio:g} %"


def _spread(result: Averages) -> str:
    return percent_and_deviation(result.test_accuracy, result.test_accuracy_std)


def _difference(found: Difference) -> str:
    return plain_points(found.difference) + (f" ({plain_range(found.interval)})" if found.interval else "")


def criteria_table(criteria: Sequence[CriterionAgreement]) -> Table:
    """Return each criterion with its family, its mean agreement with the others and its nearest neighbour."""
    table = plain_table("criteria", "criterion", "family", "mean agreement", "nearest")
    for row in criteria:
        table.add_row(row.name, row.family, f"{row.mean_agreement:.2f}", row.nearest)
    return table


def agreement_table(agreement: AgreementRecord) -> Table:
    """Return Spearman's rho of every pair in hundredths, so that fourteen criteria fit on a terminal."""
    columns = [str(number) for number in range(1, len(agreement.criteria) + 1)]
    table = plain_table("agreement (Spearman's rho x 100, mean over groups)", "criterion", *columns)
    table.padding = (0, 0, 0, 0)  # the box puts one space between columns
    table.columns[0].no_wrap = True
    for number, (name, row) in enumerate(zip(agreement.criteria, agreement.mean, strict=True), start=1):
        table.add_row(f"{number:>2} {name}", *("-" if rho is None else f"{100 * rho:.0f}" for rho in row))
    return table


def clusters_table(clusters: Mapping[str, Sequence[Sequence[str]]]) -> Table:
    """Return the clusters of criteria of each unit."""
    table = text_table("clusters", "unit", "criteria that rank alike")
    for unit, members in clusters.items():
        table.add_row(unit, " | ".join(", ".join(names) for names in members))
    return table


def trained_table(summary: TrainSummary) -> Table:
    """Return accuracy, training length, cost and time of the trained network."""
    table = plain_table("baseline", "test accuracy", "steps", "FLOPs", "parameters", "time")
    counts = [f"{count:,}" for count in (summary.steps, summary.flops, summary.params)]
    table.add_row(percent(summary.test_accuracy), *counts, duration(summary.seconds or 0.0))
    return table


def pruned_table(summary: PruneSummary) -> Table:
    """Return the network before and after pruning and retraining."""
    table = plain_table(f"pruned by {summary.name}", "network", "test accuracy", "FLOPs", "parameters")
    table.add_row("not pruned", percent(summary.unpruned.test_accuracy), percent(1), percent(1))
    table.add_row(*_result_cells("pruned", summary.pruned), style="bold")
    return table


def latency_line(latency: LatencyRecord | None) -> list[str]:
    """Return one line on what a latency budget came to; none for other budgets."""
    if latency is None:
        return []
    return [
        f"latency ({plural(latency.images or 1, 'image')}, {latency.device}, one thread): "
        f"{percent(latency.estimated_ratio)} by the table, {percent(latency.measured_ratio)} measured "
        f"({latency.measured_ms:.3g} of {latency.unpruned_ms:.3g} ms)"
    ]


def raters_lines(ratings: RatersRecord | None) -> list[str]:
    """Return one line on who rated how much and how far they agree; none where no ratings were read."""
    if ratings is None:
        return []
    who = ", ".join(f"{name} ({plural(count, 'filter')})" for name, count in ratings.raters.items())
    kappa = f"; Fleiss' kappa {ratings.kappa:.2f} over {ratings.shared}" if ratings.kappa is not None else ""
    rest = f"; the others by {ratings.fallback}" if ratings.fallback else ""
    return [f"rated by {who}{kappa}{rest}"]


def sensitivity_table(record: SensitivityRecord) -> Table:
    """Return each group's width, its loss of accuracy at each strength of damage, the mean, and the rank of it."""
    strengths = [f"{strength:g} sd" for strength in record.strengths]
    table = plain_table("points of accuracy lost", "group", "filters", *strengths, "sensitiveness", "rank")
    for group in record.groups:
        lost = [in_percent(share) for share in (*group.drops, group.sensitiveness)]
        table.add_row(group.name, str(group.width), *lost, str(group.rank))
    return table


def kept_table(kept: Mapping[str, tuple[int, int]]) -> Table:
    """Return how many filters each group keeps, with a bar of its share."""
    table = plain_table("filters kept", "group", "kept", "of", "share")
    table.columns[-1].justify = "left"
    for group, (count, width) in kept.items():
        table.add_row(group, str(count), str(width), "█" * round(20 * count / width))
    return table


def entries_table(kind: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return registered entries with a column for every key that one of them has."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = text_table(kind, *keys)
    for column, key in zip(table.columns, keys, strict=True):
        column.no_wrap = key == "name"
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in keys))
    return table


def stage_times(seconds: Seconds) -> Text:
    """Return for example 'train 12.3 s, search 1 min 40 s, total 2 min'."""
    return Text(", ".join(f"{stage} {duration(spent or 0.0)}" for stage, spent in seconds.items()), style="dim")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(str, value)))
    return str(value)


def duration(seconds: float) -> str:
    """Write seconds as '0.42 s', '12.3 s', '2 min 5 s' or '1 h 3 min'."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
