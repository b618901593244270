"""Stages that reshape each document: $project, $addFields, $set, $unset, $replaceRoot, $replaceWith, $redact."""

from __future__ import annotations

from typing import Any

from stilldb.query.expressions.core import Evaluator, compile_in
from stilldb.query.expressions.fieldpath import split_path
from stilldb.query.numbers import kind, to_decimal
from stilldb.query.order import bson_type_name
from stilldb.query.stages.core import Stage, StageContext, Transform, fail, mapped, over_batches, stage
from stilldb.query.values import MISSING, Document

Tree = dict[str, Any]
KEEP, DROP = True, False


def _insert(tree: Tree, path: str, leaf: Any) -> None:
    """Put ``leaf`` at ``path``; raises MongoError 31250 if another path already goes through or ends there."""
    *above, last = split_path(path)
    for part in above:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise fail(31250, f"Path collision at {path}")
    if last in tree:
        if isinstance(leaf, dict) and isinstance(tree[last], dict):
            for key, item in leaf.items():
                _insert(tree[last], key, item)
            return
        raise fail(31250, f"Path collision at {path}")
    tree[last] = leaf


def _is_sub_specification(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and not next(iter(value)).startswith("$")


def _project_tree(spec: dict[str, Any], context: StageContext) -> Tree:
    tree: Tree = {}
    for path, value in spec.items():
        if isinstance(value, bool) or kind(value):
            leaf: Any = KEEP if value is True or (value is not False and to_decimal(value) != 0) else DROP
        elif _is_sub_specification(value):
            leaf = _project_tree(value, context)
        elif isinstance(value, dict) and not value:
            raise fail(
                51270, f"An empty sub-projection is not a valid value. Found empty object at path {path}"
            )
        else:
            leaf = context.compile(value)
        _insert(tree, path, leaf)
    return tree


def _leaves(tree: Tree, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, node in tree.items():
        found += _leaves(node, f"{prefix}{key}.") if isinstance(node, dict) else [(prefix + key, node)]
    return found


def _excludes(tree: Tree) -> bool:
    """Whether the projection leaves out what it names; raises MongoError for one that does both."""
    leaves = [(path, leaf) for path, leaf in _leaves(tree) if path != "_id"]
    if not leaves:
        return tree.get("_id") is DROP
    excluding = leaves[0][1] is DROP
    for path, leaf in leaves:
        if leaf is DROP and not excluding:
            raise fail(
                31254,
                f"Invalid $project :: caused by :: Cannot do exclusion on field {path} in inclusion projection",
            )
        if leaf is not DROP and excluding:
            raise fail(
                31253,
                f"Invalid $project :: caused by :: Cannot do inclusion on field {path} in exclusion projection",
            )
    return excluding


def projector(spec: Any, context: StageContext) -> Transform:
    """What ``$project`` does to a document."""
    if not isinstance(spec, dict):
        raise fail(15969, "$project specification must be an object")
    if not spec:
        raise fail(
            51272, "Invalid $project :: caused by :: projection specification must have at least one field"
        )
    tree = _project_tree(spec, context)
    if _excludes(tree):
        if tree.get("_id") is KEEP:
            del tree["_id"]
        return lambda document: _without(document, tree)
    if tree.setdefault("_id", KEEP) is DROP:
        del tree["_id"]
    return lambda document: _included(document, tree, document, context.scope)


def _included(value: Document, tree: Tree, root: Document, scope: Any) -> Document:
    made: Document = {}
    for key, item in value.items():
        node = tree.get(key)
        if node is KEEP:
            made[key] = item
        elif isinstance(node, dict):
            inner = _included_value(item, node, root, scope)
            if inner is not MISSING:
                made[key] = inner
    for key, node in tree.items():
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            found = node(root, scope)
        elif key not in value:
            found = _included_value(MISSING, node, root, scope)
        else:
            continue
        if found is not MISSING:
            made[key] = found
    return made


def _included_value(value: Any, tree: Tree, root: Document, scope: Any) -> Any:
    if isinstance(value, dict):
        return _included(value, tree, root, scope)
    if isinstance(value, list):
        items = (_included_value(item, tree, root, scope) for item in value)
        return [item for item in items if item is not MISSING]
    if all(leaf is KEEP for _, leaf in _leaves(tree)):
        return MISSING
    return _included({}, tree, root, scope)


def _without(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_without(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    made: Document = {}
    for key, item in value.items():
        node = tree.get(key)
        if node is None:
            made[key] = item
        elif isinstance(node, dict):
            made[key] = _without(item, node)
    return made


@stage("$project")
def _project(spec: Any, context: StageContext) -> Stage:
    return mapped("$project", spec, projector(spec, context))


@stage("$unset")
def _unset(spec: Any, context: StageContext) -> Stage:
    paths = spec if isinstance(spec, list) else [spec]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise fail(31002, "$unset specification must be a string or an array containing only string values")
    tree: Tree = {}
    for path in paths:
        if path.startswith("$"):
            raise fail(16410, "Invalid $unset :: caused by :: FieldPath field names may not start with '$'.")
        _insert(tree, path, DROP)
    return mapped("$unset", spec, lambda document: _without(document, tree))


def _fields_tree(spec: dict[str, Any], context: StageContext) -> Tree:
    tree: Tree = {}
    for path, value in spec.items():
        _insert(
            tree,
            path,
            _fields_tree(value, context) if _is_sub_specification(value) else context.compile(value),
        )
    return tree


def _with_fields(value: Any, tree: Tree, root: Document, scope: Any) -> Any:
    if isinstance(value, list):
        return [_with_fields(item, tree, root, scope) for item in value]
    made: Document = dict(value) if isinstance(value, dict) else {}
    for key, node in tree.items():
        if isinstance(node, dict):
            made[key] = _with_fields(made.get(key), node, root, scope)
            continue
        found = node(root, scope)
        if found is MISSING:
            made.pop(key, None)
        else:
            made[key] = found
    return made


def _add_fields_as(name: str) -> None:
    @stage(name)
    def parse(spec: Any, context: StageContext) -> Stage:
        if not isinstance(spec, dict):
            raise fail(40272, f"{name} specification stage must be an object, got {bson_type_name(spec)}")
        if not spec:
            raise fail(40177, f"Invalid {name} :: caused by :: specification must have at least one field")
        tree = _fields_tree(spec, context)
        return mapped(name, spec, lambda document: _with_fields(document, tree, document, context.scope))


_add_fields_as("$addFields")
_add_fields_as("$set")


def _replacing(name: str, spec: Any, new_root: Any, context: StageContext) -> Stage:
    evaluate = context.compile(new_root)

    def transform(document: Document) -> Document:
        value = evaluate(document, context.scope)
        if not isinstance(value, dict):
            found = f"Type of resulting value: '{'missing' if value is MISSING else bson_type_name(value)}'"
            raise fail(
                40228,
                f"'newRoot' expression must evaluate to an object, but resulting value was: {value!r}. {found}",
            )
        return value

    return mapped(name, spec, transform)


@stage("$replaceRoot")
def _replace_root(spec: Any, context: StageContext) -> Stage:
    if not isinstance(spec, dict):
        raise fail(
            40229, f"expected an object as specification for $replaceRoot stage, got {bson_type_name(spec)}"
        )
    for key in spec:
        if key != "newRoot":
            raise fail(40415, f"BSON field '$replaceRoot.{key}' is an unknown field.")
    if "newRoot" not in spec:
        raise fail(40231, "no newRoot specified for the $replaceRoot stage")
    return _replacing("$replaceRoot", spec, spec["newRoot"], context)


@stage("$replaceWith")
def _replace_with(spec: Any, context: StageContext) -> Stage:
    return _replacing("$replaceWith", spec, spec, context)


_VERDICTS = {"DESCEND": "descend", "PRUNE": "prune", "KEEP": "keep"}


@stage("$redact")
def _redact(spec: Any, context: StageContext) -> Stage:
    evaluate = compile_in(spec, context.expressions.having(*_VERDICTS))

    def change(batch: list[Document]) -> list[Document]:
        made = (
            _redacted(document, evaluate, {**context.scope, **_VERDICTS, "ROOT": document})
            for document in batch
        )
        return [document for document in made if document is not MISSING]

    return Stage("$redact", spec, over_batches(change))


def _redacted(value: Document, evaluate: Evaluator, scope: dict[str, Any]) -> Any:
    verdict = evaluate(value, scope)
    if verdict == _VERDICTS["KEEP"]:
        return value
    if verdict == _VERDICTS["PRUNE"]:
        return MISSING
    if verdict != _VERDICTS["DESCEND"]:
        raise fail(
            17053,
            "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and $$PRUNE",
        )
    made = ((key, _redacted_value(item, evaluate, scope)) for key, item in value.items())
    return {key: item for key, item in made if item is not MISSING}


def _redacted_value(value: Any, evaluate: Evaluator, scope: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return _redacted(value, evaluate, scope)
    if isinstance(value, list):
        made = (_redacted_value(item, evaluate, scope) for item in value)
        return [item for item in made if item is not MISSING]
    return value
