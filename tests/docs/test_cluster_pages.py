"""The pages on several hosts: YAML is read, job scripts run against a made-up Slurm, named tests are there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from blendsearch.validation.board import checked_board_from_dict

DOCS = Path(__file__).parents[2] / "docs"
ROOT = DOCS.parent


def fenced(page, language):
    found = re.findall(rf"^```{language}[^\n]*\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def test_every_test_that_the_table_of_reproducibility_names_is_there():
    rows = [
        line
        for line in (DOCS / "reproducibility.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith("|---") and "held by" not in line
    ]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_the_compose_file_names_versions_and_only_what_it_declares():
    compose = yaml.safe_load((DOCS / "examples/compose.yaml").read_text())
    assert set(compose) == {"services", "volumes", "secrets"}
    for service in compose["services"].values():
        assert re.fullmatch(r"[\w./-]+:\d+(\.\d+)+(-\w+)?", service["image"]), "an image without a version"
        assert set(service["secrets"]) <= set(compose["secrets"])
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "reached from other hosts"
        volumes = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert set(volumes) <= set(compose["volumes"])
        assert not any(
            "password" in key.lower() and not key.endswith("_FILE") for key in service.get("environment", {})
        )
    script = compose["services"]["dashboard"]["command"][-1]
    assert not re.search(r"(?<!\$)\$(?!\$)", script), "compose would fill in a variable of this machine"
    assert all(re.search(rf"{name}'?==\d", script) or f"'{name}==" in script for name in ("optuna-dashboard", "optuna"))
    assert subprocess.run(["sh", "-n", "-c", script.replace("$$", "$")], check=False).returncode == 0


def test_the_manifests_of_kubernetes_hang_together():
    job, search = fenced("kubernetes.md", "yaml")
    claim, job = yaml.safe_load_all(job)
    assert (claim["kind"], job["kind"], job["apiVersion"]) == ("PersistentVolumeClaim", "Job", "batch/v1")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never", "a pod failure policy needs it"
    mounts, volumes = {one["name"] for one in container["volumeMounts"]}, {one["name"]: one for one in pod["volumes"]}
    assert mounts == set(volumes)
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    variables = {one["name"] for one in container["env"]}
    address = re.search(r"`ledger: (\S+)`", (DOCS / "kubernetes.md").read_text())[1]
    assert set(re.findall(r"\$\{(\w+)\}", address)) == variables
    board = yaml.safe_load(fenced("ledger.md", 'yaml title="board.yaml"')[0])
    assert checked_board_from_dict({**board, "ledger": address}).ledger == address
    assert yaml.safe_load(search)["command"][:2] == ["sh", "-c"]


@pytest.mark.parametrize("name", ["board.sh", "searches.sh"])
def test_a_slurm_script_hands_the_signal_on_and_queues_again(tmp_path, name):
    script = next(text for text in fenced("slurm.md", f'bash title="{name}"') if text)
    (tmp_path / name).write_text(script)
    for program, text in {
        "blendsearch": 'echo "$@" >> begun; trap "echo stopped >> ended; exit 143" TERM; sleep 60 & wait $!',
        "scontrol": 'echo "$@" >> queued',
    }.items():
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    slurm = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(["bash", name], cwd=tmp_path, env={**os.environ, **slurm}, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "ended").read_text() == "stopped\n"
    assert (tmp_path / "queued").read_text() == "requeue 17_3\n"


def test_a_slurm_task_that_fails_is_not_queued_again(tmp_path):
    (tmp_path / "board.sh").write_text(fenced("slurm.md", 'bash title="board.sh"')[0])
    for program, text in {"blendsearch": "exit 2", "scontrol": "touch queued"}.items():
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", "board.sh"], cwd=tmp_path, env=env, check=False).returncode == 2
    assert not (tmp_path / "queued").exists()
