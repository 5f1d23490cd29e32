"""Every metric the gateway counts, in one table; what is read off the engine is in `gauges`."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SIZES = (1, 2, 4, 8, 16, 32, 64)

BUILD = Gauge("gateway_build_info", "1, for the version that runs", ["version"])
HEALTH = Gauge(
    "gateway_health", "1 while something that is needed answers, or loads yet", ["check"]
)
REQUESTS = Counter("gateway_requests_total", "Requests answered", ["route", "model", "status"])
REQUEST_SECONDS = Histogram(
    "gateway_request_seconds", "From request to response", ["route", "model"], buckets=SECONDS
)
WARNINGS = Counter(
    "gateway_warnings_total", "Answers and runs that did not do all that was asked", ["code"]
)
ENCODE_SECONDS = Histogram("gateway_encode_seconds", "Pixels to file", ["format"], buckets=SECONDS)
CONNECTIONS = Gauge("gateway_connections", "Connections open")
SOCKETS = Gauge("gateway_websockets", "WebSockets open")
CONNECTIONS_CUT = Counter(
    "gateway_connections_cut_total", "Connections ended for their peers' slowness", ["reason"]
)
BATCH_SIZE = Histogram(
    "gateway_batch_samples", "Samples per forward", ["endpoint", "component"], buckets=SIZES
)
STEP_SECONDS = Histogram(
    "gateway_step_seconds", "One denoiser forward", ["endpoint"], buckets=SECONDS
)
SAMPLES_FAILED = Counter(
    "gateway_samples_failed_total", "Samples that ended without a picture", ["code"]
)
LOADS = Counter("gateway_loads_total", "Endpoints and adapters loaded", ["model"])
LOADS_FAILED = Counter(
    "gateway_loads_failed_total", "Endpoints and adapters that could not be loaded", ["model"]
)
LOAD_SECONDS = Histogram(
    "gateway_load_seconds", "Time to load an endpoint", ["model"], buckets=SECONDS
)
ADAPTER_LOAD_SECONDS = Histogram(
    "gateway_adapter_load_seconds", "Time to load a LoRA, with what had to be fetched",
    buckets=SECONDS,
)  # fmt: skip
FETCHED_BYTES = Gauge(
    "gateway_fetched_bytes", "Of the latest download of a model, bytes that are here", ["model"]
)
FETCH_TOTAL_BYTES = Gauge(
    "gateway_fetch_total_bytes", "Of the latest download of a model, bytes in all", ["model"]
)
EVICTIONS = Counter("gateway_evictions_total", "Endpoints and adapters dropped", ["model"])
ADAPTER_HITS = Counter("gateway_adapter_hits_total", "Samples that used an adapter", ["model"])
HUNG = Gauge(
    "gateway_engine_hung",
    "1 while a device has not come back from a turn for many times what one takes",
    ["device"],
)
DEVICE_MEMORY = Gauge("gateway_device_memory_bytes", "Device memory allocated", ["device"])
MEMORY_PLANNED = Gauge(
    "gateway_memory_planned_bytes", "What an endpoint was planned to take", ["endpoint"]
)
MEMORY_USED = Gauge(
    "gateway_memory_used_bytes", "The most that an endpoint was seen to take", ["endpoint"]
)
RECORDED = Gauge("gateway_recorded_bytes", "Device memory of recorded forwards", ["device"])
RUNS = Gauge("gateway_runs", "Runs in the database that have not ended", ["status"])
RUN_WAIT_SECONDS = Gauge(
    "gateway_run_wait_seconds", "How long the run that waits longest has waited to begin"
)
RUNS_ENDED = Counter("gateway_runs_ended_total", "Runs that ended", ["status"])
BATCHES_ENDED = Counter("gateway_batches_ended_total", "OpenAI batches that ended", ["status"])
WEBHOOKS = Gauge(
    "gateway_webhook_events", "Events in the database that are not delivered", ["state"]
)
WEBHOOK_LAG_SECONDS = Gauge(
    "gateway_webhook_lag_seconds", "How long an event has waited for its first try, at most"
)
WEBHOOK_TRIES = Counter(
    "gateway_webhook_tries_total", "Tries to deliver an event, by how it stands since", ["state"]
)
STORE_FAILURES = Counter(
    "gateway_store_failures_total", "Acts on the store that failed", ["act"]
)
DISK_FREE = Gauge("gateway_disk_free_bytes", "Bytes free on the disk of a folder", ["folder"])
DISK_SIZE = Gauge("gateway_disk_size_bytes", "Bytes of the disk of a folder", ["folder"])
OUTAGES = Counter(
    "gateway_outages_total", "Acts on the database or the store to be tried again", ["act"]
)
MENDED = Counter(
    "gateway_mended_total", "Accepted work found to be going on nowhere, and begun again", ["kind"]
)
LOG_LINES_DROPPED = Counter(
    "gateway_log_lines_dropped_total", "Log lines that nobody read in time"
)
REPLICAS = Gauge("gateway_replicas", "Replicas by how they stand", ["standing"])
REPLICAS_LOST = Counter("gateway_replicas_lost_total", "Replicas that ended or hung", ["replica"])
REDRAWN = Counter("gateway_redrawn_total", "Samples begun again after their replica was lost")


def from_zero(counter: Counter, values: Iterable[str]) -> None:
    """Have a counter of one label begin at zero for all its values that are known.

    What first appears as 1 has not risen, as Prometheus sees it.
    """
    for value in values:
        counter.labels(value)
