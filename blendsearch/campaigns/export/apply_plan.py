"""Gives a fresh instance of the network's class the pruned shapes and weights that lie beside this file."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def apply_plan(network, folder=Path(__file__).parent):
    """Change the unpruned `network` in place, weights included, and return it in evaluation mode."""
    plan = json.loads((Path(folder) / "plan.json").read_text())
    tensors = load_file(Path(folder) / "model.safetensors")
    for key, buffer in plan["buffers"].items():  # those that no state dict holds
        tensors[key] = torch.tensor(buffer["values"], dtype=getattr(torch, buffer["dtype"]))
    for path, sizes in plan["sizes"].items():  # such as out_channels, groups, num_features, normalized_shape
        for name, size in sizes.items():
            setattr(network.get_submodule(path), name, tuple(size) if isinstance(size, list) else size)
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        module = network.get_submodule(path)
        learned = isinstance(getattr(module, name), torch.nn.Parameter)
        setattr(module, name, torch.nn.Parameter(tensor, tensor.is_floating_point()) if learned else tensor)
    return network.eval()
