"""Answers in Loki's JSON: streams, matrices, vectors, scalars, and the statistics that its clients look for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from query.logql.lines import Line
from query.logql.ranges import Steps
from query.logql.vectors import Labels, Side, Vector, in_order
from query.running import Running

Answer = dict[str, Any]
CATEGORIZE = "categorize-labels"
INCOMPLETE = "the answer is not complete: {}"
LIMITS = {
    "time": "the limit on time was reached", "rows": "the limit on rows read was reached",
    "bytes": "the limit on bytes read was reached", "memory": "the limit on memory was reached",
    "cold": "the cold tier could not be read", "result": "the limit on the result's size was reached",
}  # fmt: skip


def succeeded(data: Any, running: Running | None = None) -> Answer:
    """An answer, with a warning for each limit that cut it."""
    warnings = incomplete(running) if running is not None else []
    return {"status": "success", **({"warnings": warnings} if warnings else {}), "data": data}


def incomplete(running: Running) -> list[str]:
    """What is missing of an answer, one text for each reason."""
    return [INCOMPLETE.format(_reason(limit)) for limit in running.lacking]


def _reason(limit: str) -> str:
    kind, _, shard = limit.partition(":")
    return f"shard {shard} is away" if kind == "shard" else LIMITS.get(limit, f"limit {limit}")


# --- log lines -------------------------------------------------------------------------------------------


def streams(lines: Iterable[Line], flags: tuple[str, ...]) -> list[Answer]:
    """Lines by stream. With `categorize-labels` a stream has its own labels, and each line the others; without it every
    set of labels is a stream."""
    categorize = CATEGORIZE in flags
    found: dict[Labels, list[list[Any]]] = {}
    for line in lines:
        key = (
            line.stream
            if categorize
            else tuple(sorted({**line.metadata, **dict(line.stream), **line.parsed}.items()))
        )
        entry: list[Any] = [str(line.timestamp), line.text]
        if categorize:
            more = {"structuredMetadata": line.metadata, "parsed": line.parsed}
            entry.append({name: labels for name, labels in more.items() if labels})
        found.setdefault(key, []).append(entry)
    return [{"stream": dict(labels), "values": values} for labels, values in sorted(found.items())]


def streams_data(lines: list[Line], flags: tuple[str, ...], running: Running) -> Answer:
    encoding = (
        {"encodingFlags": [flag for flag in flags if flag == CATEGORIZE]} if CATEGORIZE in flags else {}
    )
    result = streams(lines, flags)
    return {"resultType": "streams", **encoding, "result": result, "stats": stats(running, len(lines))}


# --- numbers ---------------------------------------------------------------------------------------------


def matrix_data(side: Side, steps: Steps, running: Running) -> Answer:
    """A range query's series. A number is a series without labels."""
    vector: Vector = {(): dict.fromkeys(range(steps.count), side)} if isinstance(side, float) else side
    result = [
        {
            "metric": dict(labels),
            "values": [
                [_seconds(steps.millis(step)), shown(value)] for step, value in sorted(values.items())
            ],
        }
        for labels, values in in_order(vector)
        if values
    ]
    return {"resultType": "matrix", "result": result, "stats": stats(running, len(result))}


def vector_data(side: Side, steps: Steps, running: Running, ordered: bool) -> Answer:
    """An instant query's values; `ordered`: in the order that they have, not by labels."""
    at = _seconds(steps.millis(0))
    if isinstance(side, float):
        return {"resultType": "scalar", "result": [at, shown(side)], "stats": stats(running, 1)}
    items = list(side.items()) if ordered else in_order(side)
    result = [
        {"metric": dict(labels), "value": [at, shown(values[0])]} for labels, values in items if 0 in values
    ]
    return {"resultType": "vector", "result": result, "stats": stats(running, len(result))}


def shown(value: float) -> str:
    """A number as Loki writes it: the shortest decimal digits, never an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def _seconds(millis: int) -> int | float:
    return millis // 1000 if millis % 1000 == 0 else millis / 1000


# --- statistics ------------------------------------------------------------------------------------------

_CHUNK = dict.fromkeys(
    ("headChunkBytes", "headChunkLines", "decompressedBytes", "decompressedLines", "compressedBytes", "totalDuplicates",
     "postFilterLines", "headChunkStructuredMetadataBytes", "decompressedStructuredMetadataBytes"), 0
)  # fmt: skip
_STORE = {
    "totalChunksRef": 0, "totalChunksDownloaded": 0, "chunksDownloadTime": 0,
    "queryReferencedStructuredMetadata": False,
    "chunk": _CHUNK, "chunkRefsFetchTime": 0, "congestionControlLatency": 0, "pipelineWrapperFilteredLines": 0,
}  # fmt: skip
_CACHE = dict.fromkeys(
    ("entriesFound", "entriesRequested", "entriesStored", "bytesReceived", "bytesSent", "requests", "downloadTime",
     "queryLengthServed"), 0
)  # fmt: skip
_CACHES = (
    "chunk",
    "index",
    "result",
    "statsResult",
    "volumeResult",
    "seriesResult",
    "labelResult",
    "instantMetricResult",
)


def stats(running: Running, returned: int) -> Answer:
    """What was read: Neve's own counts where Loki has such a number, and nothing of what Neve does not have."""
    said = running.stats()
    seconds = float(str(said["elapsed_ms"])) / 1000
    read, size = (int(str(said[name] or 0)) for name in ("rows_read", "bytes_read"))
    return {
        "summary": {
            "bytesProcessedPerSecond": round(size / seconds) if seconds else 0,
            "linesProcessedPerSecond": round(read / seconds) if seconds else 0,
            "totalBytesProcessed": size, "totalLinesProcessed": read, "execTime": seconds, "queueTime": 0,
            "subqueries": 0, "totalEntriesReturned": returned, "splits": 0, "shards": 0,
            "totalPostFilterLines": returned,
            "totalStructuredMetadataBytesProcessed": 0,
        },
        "querier": {"store": {**_STORE, "chunk": {**_CHUNK, "decompressedBytes": size, "decompressedLines": read}}},
        "ingester": {
            "totalReached": 0, "totalChunksMatched": 0, "totalBatches": 0, "totalLinesSent": 0, "store": _STORE,
        },
        "cache": dict.fromkeys(_CACHES, _CACHE),
        "index": {"totalChunks": 0, "postFilterChunks": 0, "shardsDuration": 0, "usedBloomFilters": False},
    }  # fmt: skip
