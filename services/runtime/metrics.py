"""The one table of what is measured: name, kind, unit, labels.

Counters end in ``_total``, sizes in ``_bytes``, durations in ``_seconds``, numbers of records in
``_records``. No label names a customer, an event id or a key: their number is not bounded.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RECORDS = (1, 5, 20, 100, 500, 2_000, 5_000, 10_000, 20_000)

EXPOSITION_TYPE = CONTENT_TYPE_LATEST

HTTP_REQUESTS = Counter(
    "upshot_http_requests_total",
    "Requests answered, by route and status.",
    ("route", "status"),
    registry=REGISTRY,
)
HTTP_SECONDS = Histogram(
    "upshot_http_request_seconds",
    "From the request's head to the end of the answer.",
    ("route",),
    buckets=SECONDS,
    registry=REGISTRY,
)
EVENTS_ACCEPTED = Counter(
    "upshot_events_accepted_total", "Events acknowledged by Kafka.", registry=REGISTRY
)
EVENTS_REFUSED = Counter(
    "upshot_events_refused_total",
    "Events refused, by the slug of the problem.",
    ("problem",),
    registry=REGISTRY,
)
APPEND_SECONDS = Histogram(
    "upshot_append_seconds",
    "From handing records to the producer to their acknowledgement.",
    buckets=SECONDS,
    registry=REGISTRY,
)
APPENDS_IN_FLIGHT = Gauge(
    "upshot_appends_in_flight_records",
    "Records handed over and not yet acknowledged.",
    registry=REGISTRY,
)
RECORDS_APPLIED = Counter(
    "upshot_applied_records_total",
    "Records whose effects were committed.",
    ("projection",),
    registry=REGISTRY,
)
APPLY_SECONDS = Histogram(
    "upshot_apply_seconds",
    "One partition batch, from reading it to the commit.",
    ("projection",),
    buckets=SECONDS,
    registry=REGISTRY,
)
APPLY_BATCH_RECORDS = Histogram(
    "upshot_apply_batch_records",
    "Records in one partition batch.",
    ("projection",),
    buckets=RECORDS,
    registry=REGISTRY,
)
LAG_RECORDS = Gauge(
    "upshot_lag_records",
    "Records between the checkpoint and the end of the log.",
    ("projection", "partition"),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "upshot_dead_letters_total",
    "Records set aside, by reason.",
    ("projection", "reason"),
    registry=REGISTRY,
)
OUTBOX_RELAYED = Counter(
    "upshot_outbox_relayed_records_total",
    "Output records acknowledged by Kafka.",
    ("projection",),
    registry=REGISTRY,
)
RETRIES = Counter(
    "upshot_retries_total",
    "Attempts repeated after an error of a server, by what was attempted.",
    ("action",),
    registry=REGISTRY,
)
DELIVERY_ATTEMPTS = Counter(
    "upshot_delivery_attempts_total",
    "HTTP tries of webhooks, by outcome.",
    ("outcome",),
    registry=REGISTRY,
)
DELIVERY_SECONDS = Histogram(
    "upshot_delivery_attempt_seconds",
    "One HTTP try of a webhook, all in all.",
    buckets=SECONDS,
    registry=REGISTRY,
)
DELIVERIES_DUE = Gauge(
    "upshot_deliveries_due", "Deliveries whose next attempt is due.", registry=REGISTRY
)


def exposition() -> bytes:
    """Return every metric in Prometheus' text format."""
    return generate_latest(REGISTRY)
