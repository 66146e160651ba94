"""Slices of weights: which parts of which parameters belong to one node of a language model.

- Head: the rows of its query in the weight of the query projection, and its columns in that of the
  output projection. Keys and values serve a group of heads, low-rank factors all of them: they are
  left, as are biases, and what a family keeps per head beside (attention sinks).
- Expert: its part of every parameter of the experts' module, biases too.
- Shared experts, MLP blocks, layers: the parameters of all linear layers inside, biases too. Left
  are the weights of norms, other vectors beside no matrix, and the gate of shared experts.
- Neuron: its row in every matrix that it comes from, and its column of the down projection.

So a number in the weights belongs to one node of a kind at most. Embeddings, the output layer and
norms belong to none; of kinds that are parts of a layer, nor does the rest of it, such as keys and
values of heads. Kinds overlap: a layer holds its heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from synkern.models.blocks import find_blocks
from synkern.models.expert_slices import parts_of_experts
from synkern.models.heads import find_attention, has_weight_matrix
from synkern.models.language_model import UnsupportedModelError, causal_lm
from synkern.models.nodes import Node, checked_kind, find_sites
from synkern.models.owners import (
    Owned,
    owners_of_inputs,
    owners_of_keys_and_values,
    owners_of_queries,
)
from synkern.models.probe import passes_shared
from synkern.models.sites import Site
from synkern.models.upstream_linears import adapter_in, plain_linear_weight, why_not_editable

Where: TypeAlias = tuple[int | slice | Tensor, ...]
"""An index into a parameter."""
Parts: TypeAlias = list[tuple[nn.Module, str, str, Where]]
"""Of one node: module, the name of its parameter there, role, where in the parameter."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of one parameter that belongs to one node."""

    name: str
    """The parameter's dotted name in the transformers model (not in a wrapper around it)."""
    parameter: nn.Parameter
    where: Where
    """So that `parameter[where]` is the slice."""
    role: str
    """What it does: "query" or "output" of a head, "input" or "output" of a neuron; of other nodes
    the name of the parameter within the node's module, such as "gate_up_proj"."""

    @property
    def tensor(self) -> Tensor:
        """The numbers as they are now; without gradient. A copy where no view is possible."""
        return self.parameter.detach()[self.where]

    @property
    def is_matrix(self) -> bool:
        """Whether it is part of a matrix; else it is a bias."""
        vector_per_expert = bool(self.where) and isinstance(self.where[0], int)
        return self.parameter.dim() - vector_per_expert > 1


def find_slices(model: nn.Module, of: str = "heads") -> dict[Node, tuple[Slice, ...]]:
    """Find the parts of the weights that belong to each node of a kind.

    They are found by what the model does, not by names: which rows of which layers make the query
    of one head, for instance. Runs a few forward passes of a few tokens; the model is left as it
    was.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        of: a kind of node, one of `synkern.models.nodes.KINDS`.

    Returns:
        The slices of every node, in the order of `nodes_of(find_sites(model, of))`. No number
        belongs to two nodes, or twice to one.

    Raises:
        UnsupportedModelError: the nodes of this model cannot be found, or the part of the weights
            that belongs to one cannot be told (as where a norm over all heads makes every query
            depend on the weights of all), or changed (quantised, offloaded, sharded, inside an
            adapter, also used elsewhere).
        ValueError: there is no such kind.
    """
    checked_kind(of)
    language_model = causal_lm(model)
    refuse_quantised(language_model)
    with passes_shared():
        sites = find_sites(language_model, of)
        parts = _PARTS.get(of, _of_modules)(language_model, sites)
    names = {module: name for name, module in language_model.named_modules()}
    found = {
        Node(site.layer, index, site.kind): _slices(names, of_node)
        for site, of_site in zip(sites, parts, strict=True)
        for index, of_node in enumerate(of_site)
    }
    _check(language_model, sites, found)
    return found


def find_key_value_slices(model: nn.Module) -> dict[tuple[Node, ...], tuple[Slice, ...]]:
    """Find the rows of the weights that make the keys and values of each group of heads.

    A group are the heads that share keys and values: one head by itself, or several where queries
    are grouped. Found like the slices of `find_slices`, with none of which they overlap. Left are
    biases, and rows that serve all heads, as of low-rank factors.

    Args:
        model: a causal language model of transformers, or a module that holds one.

    Returns:
        By group, in the order of heads: slices whose roles are "key" and "value".

    Raises:
        UnsupportedModelError: as `find_slices`, of keys and values.
    """
    language_model = causal_lm(model)
    refuse_quantised(language_model)
    with passes_shared():
        calls = find_attention(language_model)
        owners = owners_of_keys_and_values(language_model, calls)
        sites = find_sites(language_model, "heads")
    names = {module: name for name, module in language_model.named_modules()}
    found: dict[tuple[Node, ...], tuple[Slice, ...]] = {}
    for call, both in zip(calls, owners, strict=True):
        where = f"model: {type(language_model).__name__}: {names[call.module]}"
        heads = call.output.shape[2]
        groups = max((owned.nodes for its in both for owned in its), default=heads)
        parts: list[Parts] = [[] for _ in range(groups)]
        for role, owned in zip(("key", "value"), both, strict=True):
            rows = rows_of_nodes(language_model, where, owned, groups, role, role)
            parts = [[*its, *own] for its, own in zip(parts, rows, strict=True)]
        # transformers' attention repeats every head of the keys for as many heads in a row.
        size = heads // groups
        for group, of_group in enumerate(parts):
            nodes = tuple(Node(call.layer, group * size + i) for i in range(size))
            found[nodes] = _slices(names, of_group)
    _check(language_model, sites, {nodes[0]: own for nodes, own in found.items()})
    return found


def _slices(names: Mapping[nn.Module, str], parts: Parts) -> tuple[Slice, ...]:
    return tuple(
        Slice(_joined(names[m], name), m.get_parameter(name), where, role)
        for m, name, role, where in parts
    )


def refuse_quantised(language_model: Any) -> None:
    """Refuse a model whose weights are kept in a form of their own.

    Raises:
        UnsupportedModelError: it says that it is quantised.
    """
    if getattr(language_model, "is_quantized", False):
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} is quantised, so that its weights are not the "
            "numbers that it multiplies by and cannot be changed; load it without "
            "quantization_config"
        )


def _of_heads(model: Any, sites: Sequence[Site]) -> list[list[Parts]]:
    calls = find_attention(model)
    owners = owners_of_queries(model, calls)
    names = {module: name for name, module in model.named_modules()}
    found = []
    for site, call, owned in zip(sites, calls, owners, strict=True):
        heads, width = call.output.shape[2:]
        where = f"model: {type(model).__name__}: {names[call.module]}"
        rows = rows_of_nodes(model, where, owned, heads, "query", "head")
        _checked_linear(model, where, site.module)
        parts: list[Parts] = []
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            output = site.module, "weight", "output", _into(site.module, 1, columns)
            parts.append([*rows[head], output])
        found.append(parts)
    return found


def _of_neurons(model: Any, sites: Sequence[Site]) -> list[list[Parts]]:
    blocks = {b.layer.index: b.module for b in find_blocks(model)}
    entered = {
        site.module: [m for m in blocks[site.layer].modules() if m is not site.module]
        for site in sites
    }
    owners = owners_of_inputs(model, entered)
    found = []
    for site in sites:
        where = f"model: {type(model).__name__}: {site.name}"
        rows = rows_of_nodes(
            model, where, owners.get(site.module, []), site.count, "input", "neuron"
        )
        _checked_linear(model, where, site.module)
        found.append(
            [
                [
                    *rows[n],
                    (site.module, "weight", "output", _into(site.module, 1, slice(n, n + 1))),
                ]
                for n in range(site.count)
            ]
        )
    return found


def _of_experts(model: Any, sites: Sequence[Site]) -> list[list[Parts]]:
    return [
        [[(site.module, name, name, (e,)) for name in names] for e in range(site.count)]
        for site, names in zip(sites, parts_of_experts(model, sites), strict=True)
    ]


def _of_modules(model: Any, sites: Sequence[Site]) -> list[list[Parts]]:
    return [[_of_module(model, site)] for site in sites]


def _of_module(model: Any, site: Site) -> Parts:
    """The parameters of all linear layers, and others with a matrix, in the module of a site."""
    what = f"model: {type(model).__name__}: {site.name} ({type(site.module).__name__})"
    adapter = adapter_in(site.module)
    if adapter is not None:
        raise UnsupportedModelError(f"{what}: {_inside(adapter)}")
    parts: Parts = []
    seen: set[int] = set()
    for name, module in site.module.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not any(p.dim() > 1 for p in own.values()):
            if has_weight_matrix(module):
                raise UnsupportedModelError(
                    f"{what}: {name} ({type(module).__name__}) keeps a matrix that is no "
                    "parameter, as a quantised layer does, so that it cannot be changed; load the "
                    "model without quantization_config"
                )
            continue
        for key, parameter in own.items():
            if id(parameter) not in seen:
                role = _joined(name, key)
                parts.append((site.module, role, role, (slice(None),) * parameter.dim()))
            seen.add(id(parameter))
    if not parts:
        raise UnsupportedModelError(f"{what} holds no matrix of weights, so none can be changed")
    return parts


_PARTS: Mapping[str, Callable[[Any, Sequence[Site]], list[list[Parts]]]] = {
    "heads": _of_heads,
    "neurons": _of_neurons,
    "experts": _of_experts,
}
"""By kind, what finds the parts of every node of every site; of others, the module is the node."""


def rows_of_nodes(
    model: Any, where: str, owned: Sequence[Owned], count: int, role: str, one: str
) -> list[Parts]:
    """The rows of weights that make each of `count` nodes, and nothing else.

    Raises:
        UnsupportedModelError: not every node has as many.
    """
    names = {module: name for name, module in model.named_modules()}
    parts: list[Parts] = [[] for _ in range(count)]
    for of_linear in owned:
        linear, name = of_linear.linear, names[of_linear.linear]
        owner, placed = of_linear.owner.sort(stable=True)
        placed, owner = placed[owner >= 0], owner[owner >= 0]
        if not len(owner):
            continue
        _checked_linear(model, where, linear)
        numbers = owner.bincount(minlength=of_linear.nodes).tolist()
        why = None
        if of_linear.nodes != count:
            why = f"makes {of_linear.nodes} of which the {count} {one}s are made in some way"
        elif of_linear.calls > 1:
            why = f"is called {of_linear.calls} times in one pass"
        elif min(numbers) < max(numbers):
            why = f"gives some {one}s {min(numbers)} rows of their own and others {max(numbers)}"
        if why is not None:
            raise UnsupportedModelError(
                f"{where}: which weights belong to one {one} cannot be told: {name} {why}"
            )
        for node, own in enumerate(placed.split(numbers)):
            parts[node].append((linear, "weight", role, _into(linear, 0, as_index(own))))
    if not all(parts):
        several = ", ".join(names[o.linear] for o in owned)
        why = (
            f"every output of {several} moves several {one}s, or something else beside, as where a "
            f"norm spans all {one}s"
            if several
            else f"no linear layer inside makes what its {one}s are made of"
        )
        raise UnsupportedModelError(
            f"{where}: no weights make one {one} alone: {why}; change other nodes, such as layers, "
            f"or the activity of {one}s instead of their weights"
        )
    return parts


def as_index(rows: Tensor) -> slice | Tensor:
    """Rows in rising order as a slice where they are evenly spaced, which makes a view."""
    first = int(rows[0])
    if len(rows) == 1:
        return slice(first, first + 1)
    steps = rows.diff()
    step = int(steps[0])
    return slice(first, int(rows[-1]) + 1, step) if bool((steps == step).all()) else rows


def _into(linear: Any, axis: int, index: slice | Tensor) -> Where:
    """Outputs (axis 0) or inputs (axis 1) of a linear layer as an index into its weight."""
    transposed = plain_linear_weight(linear) is not linear.weight
    return (index, slice(None)) if (axis == 0) != transposed else (slice(None), index)


def _checked_linear(model: Any, where: str, linear: nn.Module) -> None:
    """Refuse a layer that does not multiply by its weight and nothing else."""
    names = {module: name for name, module in model.named_modules()}
    what = f"{where}: {names[linear]} ({type(linear).__name__})"
    holder = model.get_submodule(names[linear].rpartition(".")[0])
    adapter = adapter_in(holder)
    if adapter is not None and linear in set(adapter.modules()):
        raise UnsupportedModelError(f"{what}: {_inside(adapter)}")
    if plain_linear_weight(linear) is None:
        raise UnsupportedModelError(
            f"{what} keeps its weight in a form of its own, as of a quantised or pruned model, so "
            "that it cannot be changed; load the model without quantization_config, and make "
            "pruning permanent"
        )


def _inside(adapter: nn.Module) -> str:
    return (
        f"an adapter ({type(adapter).__name__}) is inside, whose matrices add to those of the "
        "model; merge it (merge_and_unload()) or disable it"
    )


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)


def _check(model: Any, sites: Iterable[Site], found: Mapping[Node, Sequence[Slice]]) -> None:
    """Refuse parameters that cannot be changed, or that are used beside their node."""
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name)
    homes = {site.layer: f"{site.name}." for site in sites}
    checked: set[int] = set()
    for node, slices in found.items():
        # A module that is the node may use one matrix twice; else each name is another use.
        home = () if node.kind in ("heads", "neurons") else homes[node.layer]
        for part in slices:
            key = id(part.parameter)
            if key in checked:
                continue
            checked.add(key)
            why = why_not_editable(part.parameter)
            others = [n for n in holders[key] if n != part.name and not n.startswith(home)]
            if why is None and others:
                why = f"is also {others[0]}, so that a change of {node} would be felt there too"
            if why is not None:
                raise UnsupportedModelError(
                    f"model: {type(model).__name__}: {part.name}, part of which belongs to {node}, "
                    f"{why}"
                )
