"""Losses: log odds or scores, and what people said, in; a loss a comparison or a series out. All are differentiable.

`p` is the share of people who prefer the left photo, `margins` the log odds of it (for a head with scores, their
difference). Any leading dimensions will do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

_NOTHING = -1e9
"""The score of a place without a photo: nothing to a sum of exponentials, and finite, so that gradients are."""


def bradley_terry(margins: Tensor, p: Tensor, margin: float) -> Tensor:
    """Cross entropy in nats of P(left) = sigmoid(margins) against p (Bradley and Terry 1952, with soft labels)."""
    return functional.binary_cross_entropy_with_logits(margins, p, reduction="none")


def margin_ranking(margins: Tensor, p: Tensor, margin: float) -> Tensor:
    """max(0, margin − lead of the photo that more people prefer) (Herbrich, Graepel and Obermayer 1999); 0 at p = ½."""
    side = torch.sign(p - 0.5)
    return functional.relu(margin - side * margins) * side.abs()


def hinge(margins: Tensor, p: Tensor, margin: float) -> Tensor:
    """The hinge on the difference of the two photos, on average over the people asked, who may disagree:
    p max(0, margin − d) + (1 − p) max(0, margin + d) (Cortes and Vapnik 1995, with soft labels)."""
    return p * functional.relu(margin - margins) + (1 - p) * functional.relu(margin + margins)


def fidelity(margins: Tensor, p: Tensor, margin: float) -> Tensor:
    """1 − √(p P) − √((1 − p)(1 − P)) with P = sigmoid(margins) (Tsai et al. 2007, FRank): in [0, 1], and 0 at P = p."""
    # √P from its logarithm: the root's own gradient is infinite where P rounds to 0.
    roots = (torch.exp(functional.logsigmoid(side) / 2) for side in (margins, -margins))
    likes, dislikes = roots
    return 1 - p.sqrt() * likes - (1 - p).sqrt() * dislikes


def listnet(scores: Tensor, targets: Tensor, there: Tensor) -> Tensor:
    """(..., G) cross entropy of softmax(scores) against softmax(targets) in each series (Cao et al. 2007, top one).

    `scores` and `targets` (utilities) are (..., G, L), a row a series; `there` says which of the L places hold a photo.
    """
    wanted = functional.softmax(targets.masked_fill(~there, _NOTHING), dim=-1)
    found = functional.log_softmax(scores.masked_fill(~there, _NOTHING), dim=-1)
    return -(wanted * found).masked_fill(~there, 0).sum(-1)


def listmle(scores: Tensor, targets: Tensor, there: Tensor) -> Tensor:
    """(..., G) − log of the Plackett-Luce likelihood of each series' order (Xia et al. 2008), arguments as for
    `listnet`: the photos of a row are in that order, the highest target first, and places without a photo last."""
    lifted = scores.masked_fill(~there, _NOTHING)
    of_the_rest = torch.logcumsumexp(lifted.flip(-1), dim=-1).flip(-1)
    return (of_the_rest - lifted).masked_fill(~there, 0).sum(-1)


PAIRWISE: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "bradley_terry": bradley_terry, "margin_ranking": margin_ranking, "hinge": hinge, "fidelity": fidelity,
}  # fmt: skip
LISTWISE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"listnet": listnet, "listmle": listmle}
