"""Deterministic documents: the same seed gives the same bytes. Owns no connection."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

_CITIES = (
    "Lisbon",
    "Osaka",
    "Tallinn",
    "Medellín",
    "Accra",
    "Hobart",
    "Tromsø",
    "Valparaíso",
    "Pune",
    "Oaxaca",
)
_STATUSES = ("placed", "paid", "packed", "shipped", "delivered", "returned")
_ITEMS = (
    "kettle",
    "lamp",
    "notebook",
    "chair",
    "headphones",
    "teapot",
    "rucksack",
    "clock",
    "blanket",
    "vase",
)
_WORDS = (
    "leave",
    "at",
    "the",
    "door",
    "ring",
    "twice",
    "fragile",
    "gift",
    "wrap",
    "please",
    "call",
    "before",
)
_START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


def order(number: int, chance: random.Random) -> Document:
    """An order of a shop with nested customer, items and note: 350 to 650 bytes of BSON, mostly about 450."""
    items = [
        {
            "sku": f"SKU-{chance.randrange(10_000):05d}",
            "name": chance.choice(_ITEMS),
            "quantity": chance.randint(1, 5),
        }
        for _ in range(chance.randint(1, 4))
    ]
    return {
        "_id": number,
        "customer": {
            "id": chance.randrange(20_000),
            "city": chance.choice(_CITIES),
            "score": chance.randrange(1000),
            "email": f"customer{chance.randrange(20_000)}@example.org",
        },
        "status": chance.choice(_STATUSES),
        "placed": _START + datetime.timedelta(seconds=chance.randrange(30_000_000)),
        "total": round(chance.uniform(5, 900), 2),
        "items": items,
        "note": " ".join(chance.choices(_WORDS, k=chance.randint(4, 14))),
        "visits": 0,
    }


def orders(start: int, count: int, seed: int = 1) -> Iterator[Document]:
    """``count`` orders with ``_id`` from ``start``."""
    chance = random.Random(seed * 1_000_003 + start)
    for number in range(start, start + count):
        yield order(number, chance)


def blob(number: int, size: int, chance: random.Random) -> Document:
    """A document of about ``size`` bytes whose content does not compress: data that fills a disk fast."""
    return {"_id": number, "kind": "blob", "part": {"number": number % 97}, "content": chance.randbytes(size)}


def blobs(count: int, size: int, seed: int = 2) -> Iterator[Document]:
    """``count`` documents of about ``size`` bytes with ``_id`` from 0."""
    chance = random.Random(seed)
    for number in range(count):
        yield blob(number, size, chance)
