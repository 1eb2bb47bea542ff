"""Runs an exported network in a process of its own, where this package cannot be imported: python outside.py JOB.json.

The job says what to run (`program`: a file of torch.export; `folder`: one with apply_plan.py, and the network to
build), where the images are and where the outputs go, as safetensors. What it imports is what a user needs to have.
"""

import json
import pkgutil
import runpy
import sys
from pathlib import Path


class Barrier:
    """Keeps a package from being imported."""

    def find_spec(self, name, path=None, target=None):
        """Raise for the package and all in it."""
        if name.partition(".")[0] == "blendsearch":
            raise ImportError("blendsearch is kept out of this process")


def fresh(build):
    """Return an unpruned instance: of torchvision, timm, the user's own code, or this package's zoo."""
    library, name, arguments = build["library"], build["name"], build["arguments"]
    if library == "torchvision":
        from torchvision.models import get_model

        return get_model(name, **arguments)
    if library == "timm":
        import timm

        return timm.create_model(name, **arguments)
    if library == "zoo":
        from blendsearch.models.zoo import MODELS

        return MODELS.get(name)(**arguments)
    return pkgutil.resolve_name(f"{library}:{name}")(**arguments)


def applied(job):
    """Return what the folder's own apply_plan.py makes of a fresh instance."""
    apply_plan = runpy.run_path(str(Path(job["folder"]) / "apply_plan.py"))["apply_plan"]
    return apply_plan(fresh(job["build"]), job["folder"])


def main(file):
    """Do the job."""
    job = json.loads(Path(file).read_text())
    sys.path[:] = [*sys.path[1:], *job["paths"]]  # the first is the folder of this file, which is in the package
    if job["kept_out"]:
        sys.meta_path.insert(0, Barrier())
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(job["threads"])
    network = torch.export.load(job["program"]).module() if "program" in job else applied(job)
    images = load_file(job["images"])
    with torch.no_grad():
        outputs = {name: network(batch).contiguous() for name, batch in images.items()}
    assert not (job["kept_out"] and "blendsearch" in sys.modules)
    save_file(outputs, job["outputs"])


if __name__ == "__main__":
    main(sys.argv[1])
