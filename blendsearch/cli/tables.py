"""Results as tables; whoever calls prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from blendsearch.results.verdicts import (
    difference_sentences,
    failed_trials,
    limits_of_search,
    of_moves,
    stopped_candidates,
)
from blendsearch.results.words import (
    in_percent,
    percent,
    percent_and_deviation,
    percent_range,
    plain_points,
    plural,
    rank_words,
)

ENDS = ("most important", "least important")
MOST_ROWS = 40
"""Criteria times groups beyond which a terminal does not show each."""
ENTRY_COLUMNS = ("name", "family", "backend", "description")
WIDEST = 100
"""Characters of a description in a line, also where no terminal limits it."""

if TYPE_CHECKING:  # not loaded at run time, so that --help does not wait for them
    from blendsearch.results.records.common import (
        AgreementRecord,
        Averages,
        LatencyRecord,
        Seconds,
        UnprunedRecord,
    )
    from blendsearch.results.records.scoring import RatersRecord
    from blendsearch.results.records.search import SearchSummary
    from blendsearch.results.records.single import (
        CriterionAgreement,
        ExtremeFilters,
        PruneSummary,
        SensitivityRecord,
        TrainSummary,
    )


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


USUAL = ("l1", "l2", "bn_scale", "fpgm", "taylor", "hrank", "lrp_epsilon_plus", "random")
"""Criteria that everyone looks for in a table."""
TOP = 5


def decision_lines(summary: SearchSummary) -> list[str]:
    """Return what to ship and what it costs, before anything else; nothing for records of older versions."""
    shipped = summary.shipped
    if shipped is None:
        return []
    sizes = f"{shipped.megabytes:.3g} of {shipped.unpruned_megabytes:.3g} MB"
    times = [
        f"{plural(pair.images, 'image')} in {pair.shipped_ms:.3g} of {pair.unpruned_ms:.3g} ms"
        for pair in shipped.latency
    ]
    where = {f"{pair.runtime}, {pair.device}, {plural(pair.threads, 'thread')}" for pair in shipped.latency}
    return [shipped.sentence, f"{sizes}; {', '.join(times)} ({', '.join(sorted(where))})"]


def result_table(summary: SearchSummary) -> Table:
    """Return the unpruned network, the blend, the best others and the usual suspects, and how many more there are."""
    title = f"{summary.name}: {summary.budget.kind} budget {percent(summary.budget.ratio)}"
    seeds = plural(summary.seeds, "seed")
    rows: list[tuple[str, Averages]] = [("blend", summary.blend)]
    if summary.random_search is not None:
        rows.append(("random search", summary.random_search))
    rows += summary.ablation.items()
    fixed = {**summary.rivals, **summary.criteria}
    ranked = sorted(fixed.items(), key=lambda item: -item[1].test_accuracy)
    chosen = summary.comparison.without_search
    known = {*USUAL, *([chosen.name] if chosen else []), *([summary.shipped.name] if summary.shipped else [])}
    shown = [(name, one) for place, (name, one) in enumerate(ranked) if place < TOP or name in known]
    for name, result in shown:
        own = result.allocation
        rows.append((f"{name} ({own})" if own and own != summary.allocation else name, result))
    table = _beside_unpruned(title, f"test accuracy ({seeds})", summary.unpruned, rows)
    if len(shown) < len(ranked):
        table.caption = f"and {len(ranked) - len(shown)} more, which the report has"
        table.caption_justify = "left"
    return table


def verdicts(summary: SearchSummary) -> list[str]:
    """Return what follows from each difference and from fresh images, how far images flatter, and what failed."""
    return [
        *difference_sentences(summary),
        *of_moves(summary),
        *limits_of_search(summary),
        *failed_trials(summary),
        *stopped_candidates(summary),
    ]


def _beside_unpruned(
    title: str, accuracy: str, unpruned: UnprunedRecord, rows: Sequence[tuple[str, Averages]]
) -> Table:
    """Return the unpruned network and pruned ones, the first in bold; before retraining, too, where it is known."""
    known = any(result.pruned_test_accuracy is not None for _, result in rows)
    before = ["before retraining"] if known else []
    table = plain_table(title, "network", accuracy, *before, "FLOPs", "parameters")
    table.add_row("not pruned", percent(unpruned.test_accuracy), *("" for _ in before), percent(1), percent(1))
    for place, (name, result) in enumerate(rows):
        pruned = [percent(result.pruned_test_accuracy)] if known else []
        cells = [name, spread(result), *pruned, percent(result.flops_ratio), percent(result.params_ratio)]
        table.add_row(*cells, style="bold" if place == 0 else None)
    return table


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


def spread(result: Averages) -> str:
    """Return an accuracy with its deviation over the seeds."""
    return percent_and_deviation(result.test_accuracy, result.test_accuracy_std)


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


def extremes_tables(filters: Sequence[ExtremeFilters]) -> list[Table]:
    """Return the filters that stand out in each group: by the mean of ranks, and by each criterion where that is short.

    Of a single criterion only its own.
    """
    each = [one for one in filters if one.criterion is not None]
    several = len({one.criterion for one in each}) > 1
    together = plain_extremes("filters by the mean of all ranks", [one for one in filters if one.criterion is None])
    shown = text_table("filters by each criterion", "criterion", "group", "filters", *ENDS)
    for one in each:
        shown.add_row(one.criterion, *_extreme_cells(one))
    return [*([together] if several else []), *([shown] if 0 < len(each) <= MOST_ROWS else [])]


def plain_extremes(title: str, rows: Sequence[ExtremeFilters]) -> Table:
    """Return the filters that stand out in each group."""
    table = text_table(title, "group", "filters", *ENDS)
    for one in rows:
        table.add_row(*_extreme_cells(one))
    return table


def _extreme_cells(one: ExtremeFilters) -> list[str]:
    return [one.group, str(one.width), *(" ".join(map(str, end)) for end in (one.top, one.bottom))]


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """Return a line for each criterion that could not score the network, with the reason."""
    return [f"left out: {name}: {why}" for name, why in left_out.items()]


def trained_table(summary: TrainSummary) -> Table:
    """Return accuracy, training length, cost and time of the trained network."""
    table = plain_table("baseline", "test accuracy", "steps", "FLOPs", "parameters", "time")
    counts = [f"{count:,}" for count in (summary.steps, summary.flops, summary.params)]
    table.add_row(percent(summary.test_accuracy), *counts, duration(summary.seconds or 0.0))
    return table


def pruned_table(summary: PruneSummary) -> Table:
    """Return the network before and after pruning and retraining."""
    return _beside_unpruned(
        f"pruned by {summary.name}", "test accuracy", summary.unpruned, [("pruned", summary.pruned)]
    )


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
    """Return each group's width, its loss of accuracy at each strength of damage, their mean and its possible ranks."""
    strengths = [f"{strength:g} sd" for strength in record.strengths]
    known = ["95 % interval"] if any(group.ranks for group in record.groups) else []
    table = plain_table("points of accuracy lost", "group", "filters", *strengths, "sensitiveness", *known, "rank")
    for group in record.groups:
        lost = [in_percent(share) for share in (*group.drops, group.sensitiveness)]
        table.add_row(
            group.name,
            str(group.width),
            *lost,
            *(percent_range(group.interval) for _ in known),
            rank_words(group.rank, group.ranks),
        )
    return table


def kept_table(kept: Mapping[str, tuple[int, int]]) -> Table:
    """Return how many filters each group keeps, with a bar of its share."""
    table = plain_table("filters kept", "group", "kept", "of", "share")
    table.columns[-1].justify = "left"
    for group, (count, width) in kept.items():
        table.add_row(group, str(count), str(width), "█" * round(20 * count / width))
    return table


def entries_table(kind: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return registered entries by name, family or backend and a sentence, narrow enough for a terminal."""
    keys = [key for key in ENTRY_COLUMNS if any(key in row for row in rows)]
    table = text_table(kind, *keys)
    for column, key in zip(table.columns, keys, strict=True):
        column.no_wrap = key != "description"
        column.max_width = WIDEST if key == "description" else None
    for row in rows:
        table.add_row(*(in_one_line(row.get(key)) for key in keys))
    return table


def entries_in_full(kind: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return all that is known of registered entries as lines: a name, and indented what there is."""
    lines = [f"{kind}:"]
    for row in rows:
        rest = {key: in_one_line(value) for key, value in row.items() if key not in ("name", "description")}
        lines += ["", str(row["name"]), f"    {in_one_line(row.get('description'))}"]
        lines += [f"    {key}: {value}" for key, value in rest.items()]
    return [*lines, ""]


def stage_times(seconds: Seconds) -> Text:
    """Return for example 'train 12.3 s, search 1 min 40 s, total 2 min'."""
    return Text(", ".join(f"{stage} {duration(spent or 0.0)}" for stage, spent in seconds.items()), style="dim")


def in_one_line(value: Any) -> str:
    """Return a value as a text; of a list its items."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def duration(seconds: float) -> str:
    """Write seconds as '0.42 s', '12.3 s', '2 min 5 s' or '1 h 3 min'."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
