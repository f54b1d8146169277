"""A torchvision classifier cut after a named layer, and which axis of what it gives there has the channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from photorank.errors import ConfigError
from photorank.extractors import _torchvision

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

Axis: TypeAlias = Literal[1, -1]
FIRST: Axis = 1
"""(N, C, H, W) maps, or (N, C, tokens)."""
LAST: Axis = -1
"""(N, H, W, C) maps, or (N, tokens, C)."""

# Simonyan and Zisserman's names of the fully connected layers, after their ReLU, in torchvision's VGG.
_ALIASES = {"vgg": {"fc6": "classifier.1", "fc7": "classifier.4"}}
_BATCH = 5
"""Photos that a network is tried with: a number that no axis of another meaning has."""


def cut(model: torch.nn.Module, name: str, layer: str, size: int) -> tuple[torch.nn.Module, Axis]:
    """The model up to the layer, and the axis of its channels: (N, 3, size, size) → {"out": 2 to 4 axes}.

    ConfigError where there is no such layer, it gives neither maps nor vectors, or the model does not take this size.
    """
    from torchvision.models import feature_extraction

    aliases: dict[str, str] = next((table for start, table in _ALIASES.items() if name.startswith(start)), {})
    nodes = {aliases.get(layer, layer): "out"}
    try:  # it warns where training differs, which it never comes to
        found: Any = feature_extraction.create_feature_extractor(model, nodes, suppress_diff_warning=True).eval()
    except ValueError as error:
        raise ConfigError(f"{name} has no layer {layer!r}; it has: {_layers(model, aliases)}") from error
    shape = _shape(found, name, size)
    if shape is None:
        raise ConfigError(
            f"{name} gives neither maps nor vectors at {layer!r}; name a module that does: {_layers(model, aliases)}, "
            f"or one inside"
        )
    output = next(each for each in found.graph.nodes if each.op == "output")
    return found, _channels(output, found) or (FIRST if len(shape) == 4 else LAST)


def _layers(model: torch.nn.Module, aliases: dict[str, str]) -> str:
    from torchvision.models import feature_extraction

    nodes = feature_extraction.get_graph_node_names(model)[1]
    modules = {name for name, _ in model.named_children()}
    return ", ".join(dict.fromkeys([*aliases, *(top for node in nodes if (top := node.split(".")[0]) in modules)]))


def _shape(model: GraphModule, name: str, size: int) -> torch.Size | None:
    """The shape of what comes for `_BATCH` photos, without computing it; None where it is no maps or vectors."""
    import torch

    state = {each: value.to("meta") for each, value in [*model.named_parameters(), *model.named_buffers()]}
    photos = torch.empty(_BATCH, 3, size, size, device="meta")
    try:
        out = torch.func.functional_call(model, state, (photos,))["out"]
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _torchvision.refused_size(name, size, error) from error
    fine = isinstance(out, torch.Tensor) and 2 <= out.ndim <= 4 and len(out) == _BATCH
    return out.shape if fine else None


def _channels(node: Node, model: GraphModule) -> Axis | None:
    """The axis of the channels in what a node of a traced model gives; None where that says nothing of it.

    Convolutions have it first, linear layers and layer norms last, permutations say where they put it, and all else
    leaves it where it is.
    """
    import torch
    from torch.nn import functional

    if node.op == "placeholder":
        return FIRST
    if node.op == "get_attr" or node.target in (getattr, "size"):
        return None
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, torch.nn.Conv2d):
        return FIRST
    if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear) or node.target in (
        functional.layer_norm, functional.linear
    ):  # fmt: skip
        return LAST
    before = next((axis for each in node.all_input_nodes if (axis := _channels(each, model)) is not None), None)
    order = _order(node, module)
    return before if order is None or before is None else _permuted(before, order)


def _order(node: Node, module: Any) -> Sequence[int] | None:
    """The axes in their new order, where the node permutes them."""
    import torch
    from torchvision.ops import Permute

    if isinstance(module, Permute):
        dims: Sequence[int] = module.dims
        return dims
    if module is not None or node.target not in (torch.permute, "permute"):
        return None
    given: Any = node.kwargs.get("dims") or node.args[1:]
    order: Sequence[int] = given[0] if len(given) == 1 else given
    return order


def _permuted(axis: Axis, order: Sequence[int]) -> Axis | None:
    where = [each % len(order) for each in order].index(axis % len(order))
    return FIRST if where == 1 else LAST if where == len(order) - 1 else None
