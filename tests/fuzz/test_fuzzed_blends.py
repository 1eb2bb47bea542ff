"""Files of blends and plans: what is valid reads again as the same and prunes to its counts; all else is told."""

from __future__ import annotations

import json

import torch
from fuzzing import ANYTHING, TEXTS, amounts, damaged, damaged_bytes, for_all, mostly, outcome
from hypothesis import strategies as st
from network_files import CASES, as_json, blends, fitting_blends, fitting_plans, kept_channels, plans, runs

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.results.run_folder import RunFolder
from blendsearch.structure import Plan

BLENDS, PLANS = blends(), plans()
DAMAGED_BLENDS = mostly(
    damaged(st.one_of(BLENDS, fitting_blends().map(lambda drawn: drawn[1])).map(Blend.to_dict)).map(as_json),
    damaged_bytes(BLENDS.map(lambda blend: as_json(blend.to_dict()))),
    ANYTHING.map(as_json),
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
)
DAMAGED_PLANS = mostly(
    damaged(st.one_of(PLANS, fitting_plans().map(lambda drawn: drawn[1])).map(Plan.to_dict)).map(as_json),
    damaged_bytes(PLANS.map(lambda plan: as_json(plan.to_dict()))),
    ANYTHING.map(as_json),
)


@amounts("valid blends")
def test_a_valid_blend_reads_again_as_the_same(cases, tmp_path):
    def check(blend):
        blend.save(tmp_path / "blend.json")
        assert Blend.load(tmp_path / "blend.json") == blend
        assert Blend.from_dict(json.loads(json.dumps(blend.to_dict()))) == blend

    for_all(cases, check, BLENDS)


@amounts("damaged blends")
def test_any_file_is_a_blend_or_told_in_a_line(cases, tmp_path):
    def check(content, case):
        file = tmp_path / "blend.json"
        file.write_bytes(content)
        blend = outcome(lambda: Blend.load(file), tmp_path)
        if blend is not None:
            outcome(lambda: blend.score(case.scores), tmp_path)
            outcome(lambda: blend.check_covers(list(case.structure.widths)), tmp_path)
            blend.save(file)
            assert Blend.load(file) == blend

    for_all(cases, check, DAMAGED_BLENDS, CASES)


@amounts("blends that prune", few=8)
def test_a_valid_blend_prunes_to_the_counts_of_its_plan(cases, tmp_path):
    def check(drawn, ratio, allocation):
        case, blend = drawn
        blend.save(tmp_path / "blend.json")
        scores = Blend.load(tmp_path / "blend.json").score(case.scores)
        assert all(bool(torch.isfinite(one).all()) for one in scores.values())
        plan = ALLOCATIONS.get(allocation)().plan(case.structure, scores, Budget.parse({"filters": ratio}))
        network = case.structure.slice(case.network, plan)
        assert kept_channels(case.structure, network) == plan.counts
        assert runs(network)

    ratios = st.floats(0.5, 0.9)
    for_all(cases, check, fitting_blends(), ratios, st.sampled_from(["uniform", "global_threshold"]))


@amounts("valid plans")
def test_a_valid_plan_reads_again_as_the_same(cases, tmp_path):
    def check(plan):
        folder = RunFolder(tmp_path)
        folder.write_json("plan.json", plan.to_dict())
        assert Plan.from_dict(folder.read_json("plan.json")) == plan

    for_all(cases, check, PLANS)


@amounts("plans that prune", few=8)
def test_a_valid_plan_prunes_to_its_counts(cases):
    def check(drawn):
        case, plan = drawn
        network = case.structure.slice(case.network, plan)
        assert kept_channels(case.structure, network) == plan.counts
        assert runs(network)

    for_all(cases, check, fitting_plans())


@amounts("damaged plans")
def test_any_file_is_a_plan_or_told_in_a_line(cases, tmp_path):
    def check(content, case):
        (tmp_path / "plan.json").write_bytes(content)
        plan = outcome(lambda: Plan.from_dict(RunFolder(tmp_path).read_json("plan.json")), tmp_path)
        if plan is None:
            return
        network = outcome(lambda: case.structure.slice(case.network, plan), tmp_path)
        if network is not None:
            assert {**case.structure.widths, **plan.counts} == kept_channels(case.structure, network)
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan

    for_all(cases, check, DAMAGED_PLANS, CASES)
