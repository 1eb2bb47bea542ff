"""However a network calls torch's functions, its filters get the scores of the plain way."""

from __future__ import annotations

import pytest
import torch
from small_networks import images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.criteria import ScoringSetup, names, score_applicable
from blendsearch.structure import Structure


def scored(network):
    data = [(images(6, seed=3), torch.arange(6) % 3)]
    return score_applicable(network, Structure.of(network, images()), data, names(), ScoringSetup())


def assert_same_scores(one, other, but=()):
    found, expected = scored(one), scored(other)
    assert found.left_out == expected.left_out
    for name in set(expected.scores) - set(but):
        for group, score in expected.scores[name].items():
            torch.testing.assert_close(found.scores[name][group], score, rtol=1e-3, atol=1e-6, msg=f"{name} {group}")


class Body(nn.Module):
    """Convolutions with an addition and a gate; how functions are called is the test's."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.last = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3, padding=1)
        self.side, self.gate, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 5), nn.Linear(5, 3)


class InOrder(Body):
    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(torch.add(self.last(x), self.side(x)))
        x = torch.mul(x, torch.sigmoid(self.gate(torch.mean(x, (2, 3))))[:, :, None, None])
        return self.head(torch.sub(torch.mean(x, (2, 3)), 0.5))


class ByName(Body):
    def forward(self, x):
        x = torch.relu(input=self.norm(self.stem(x)))
        x = torch.relu(input=torch.add(input=self.last(x), other=self.side(x)))
        gate = torch.sigmoid(input=self.gate(torch.mean(input=x, dim=(2, 3))))[:, :, None, None]
        x = torch.mul(input=x, other=gate)
        return self.head(torch.sub(input=torch.mean(input=x, dim=(2, 3)), other=0.5))


class ByNameInPlace(Body):
    def forward(self, x):
        x = F.relu(input=self.norm(self.stem(x)), inplace=True)
        x = self.last(x).add_(other=self.side(x)).relu_()
        x = x.clone().mul_(other=torch.sigmoid(self.gate(x.mean(dim=(2, 3))))[:, :, None, None])
        return self.head(x.mean(dim=(2, 3)).sub(other=0.5))


@pytest.mark.parametrize("kind", [ByName, ByNameInPlace])
def test_operands_may_be_given_by_name(kind):
    network, plain = randomised(kind()).eval(), randomised(InOrder()).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(images()), plain(images()))
    assert_same_scores(network, plain)
