"""What an update does to one document: operators, a replacement or a pipeline, behind one face."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Self

from bson import ObjectId

from stilldb.query.pipeline import compile_update_pipeline
from stilldb.query.update import compile_update, upsert_document
from stilldb.query.values import MISSING, Document


@dataclasses.dataclass(frozen=True, slots=True)
class Updater:
    """An update compiled for the documents of one filter. Neither method changes what it is given."""

    filter: Document
    apply: Callable[[Document], Document]
    _insert: Callable[[Document], Document]

    @classmethod
    def of(
        cls, change: Document | list[Document], array_filters: list[Document], spec: Document, *, multi: bool
    ) -> Self:
        """The update ``change`` on what ``spec`` finds; raises MongoError for what is no update."""
        if isinstance(change, list):
            through = _keeping_id(compile_update_pipeline(change))
            return cls(spec, through, through)
        compiled = compile_update(change, array_filters, filter_spec=spec, multi=multi)
        return cls(spec, compiled.apply, compiled.insert)

    def inserted(self) -> Document:
        """The document that an upsert makes when nothing matches, its ``_id`` first."""
        made = self._insert(upsert_document(self.filter))
        own = made.get("_id", None) if "_id" in made else ObjectId()
        return {"_id": own, **made}


def _keeping_id(through: Callable[[Document], Document]) -> Callable[[Document], Document]:
    """A pipeline whose result has the document's ``_id``, first, also where a stage leaves it out."""

    def apply(document: Document) -> Document:
        made = through(document)
        own = made.get("_id", document.get("_id", MISSING))
        return made if own is MISSING else {"_id": own, **made}

    return apply
