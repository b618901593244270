"""explain: the plan of a find or a pipeline, said in MongoDB's shape (queryPlanner, winningPlan) with our own stages."""

from __future__ import annotations

from typing import Any

from stilldb.documents.access import access
from stilldb.documents.aggregates import Aggregator, front
from stilldb.documents.catalog import Catalog
from stilldb.documents.model import Aggregate, Find, Namespace
from stilldb.documents.reads import Reader
from stilldb.query.order import compile_sort
from stilldb.query.values import Document


class Explainer:
    """Explains; runs nothing."""

    def __init__(self, catalog: Catalog, reader: Reader, aggregator: Aggregator, *, push: bool) -> None:
        self._catalog = catalog
        self._reader = reader
        self._aggregator = aggregator
        self._push = push

    async def find(self, namespace: Namespace, find: Find) -> Document:
        """``queryPlanner`` of a find."""
        return {
            "plannerVersion": 1,
            "namespace": str(namespace),
            "indexFilterSet": False,
            "parsedQuery": find.filter,
            "winningPlan": await self._winning(namespace, find),
            "rejectedPlans": [],
        }

    async def _winning(self, namespace: Namespace, find: Find) -> Document:
        query = self._reader.query(find.filter)
        if find.sort and set(find.sort) != {"$natural"}:
            compile_sort(find.sort)
        collection = await self._catalog.find(namespace)
        if collection is None:
            return {"stage": "EOF"}
        made = access(collection, query.plan, find.hint, find.sort)
        plan: Document = {"stage": "COLLSCAN" if made.index is None else "IXSCAN"}
        if made.index is not None:
            plan["indexName"] = made.index
        if made.pushed:
            plan["pushdown"] = made.pushed.replace("\ue000", "")
        # What the database gives is looked at again unless its answer is the filter's.
        plan["residualFilter"] = {} if query.plan.exact else find.filter
        for stage, spec in _steps(find, sorted_already=made.sorts):
            plan = {"stage": stage, **spec, "inputStage": plan}
        return plan

    async def aggregate(self, namespace: Namespace, request: Aggregate) -> Document:
        """``queryPlanner`` of a pipeline: its front, and the stages that the engine runs."""
        pipeline = self._aggregator.compiled(namespace, request)
        begin = front(pipeline, request.hint, push=self._push)
        plan = await self.find(namespace, begin.find)
        taken = begin.taken
        if begin.group is not None:
            exact = self._reader.query(begin.find.filter).plan.exact
            plan["winningPlan"] = {
                "stage": "GROUP",
                "pushdown": exact,
                "inputStage": plan["winningPlan"],
            }
            taken += 1
        plan["engineStages"] = [stage.name for stage in pipeline.stages[taken:]]
        return plan


def _steps(find: Find, *, sorted_already: bool) -> list[tuple[str, dict[str, Any]]]:
    steps: list[tuple[str, dict[str, Any]]] = []
    if find.sort and not sorted_already and next(iter(find.sort)) != "_id":
        steps.append(("SORT", {"sortPattern": find.sort}))
    if find.skip:
        steps.append(("SKIP", {"skipAmount": find.skip}))
    if find.limit:
        steps.append(("LIMIT", {"limitAmount": find.limit}))
    if find.projection:
        steps.append(("PROJECTION", {"transformBy": find.projection}))
    return steps
