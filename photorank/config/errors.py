"""What is wrong with a config, in a sentence that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(model: type[BaseModel], error: ValidationError, kinds: Collection[str]) -> str:
    """The first thing that is wrong with values for `model`, in words: where it is, and what would be right.

    `kinds`: the kinds of features, which pydantic puts into the path of what is wrong with one.
    """
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        # The file has no level of kinds.
        pairs = zip(["", "", *where], where, strict=False)
        shown = [part for parent, part in pairs if not (parent == "features" and part in kinds)]
        said = first["msg"].removeprefix("Value error, ")  # pydantic's words before a validator's own
        return f"{'.'.join(shown) or 'the config'}: {said[0].lower() + said[1:]} (got {first['input']!r})"
    models: list[type[BaseModel]] = [model]
    for part in where[:-1]:
        fields = [each.model_fields[part].annotation for each in models if part in each.model_fields]
        inner = [found for annotation in fields for found in _models_in(annotation)]
        tagged = [each for each in models if "kind" in each.model_fields and each.model_fields["kind"].default == part]
        models = tagged or inner or models
    known = sorted({name for each in models for name in each.model_fields})
    near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.0)
    return f"unknown key {where[-1]!r}; did you mean {near[0]!r}? The keys here are: {', '.join(known)}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
