"""Valid requests of the Comfy API v2 and its model router."""

from tests.fuzz.bodies import DATA_URL, PNG, graph, picture_graph
from tests.fuzz.seeds import Things, form_request, json_request
from tests.fuzz.wire import Sent

HASH = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def requests(named: Things) -> list[Sent]:
    """The valid requests; one of the bytes `abc` makes what a later one asks for by its hash."""
    model, ids = named.model, named.ids
    reference = {"__type": "core/ASSET", "info": {"id": ids["upload_id"], "file_path": "a.png"}}
    redrawing = picture_graph(model, "")
    redrawing["10"]["inputs"]["image"] = reference
    job = {"workflow": redrawing, "metadata": {"a": "b"}, "extra_data": {}, "priority": 1}
    fields = {"content_type": "text/plain", "file_path": "abc", "expected_hash": HASH}
    arguments = {"prompt": "a", "image": DATA_URL, "num_inference_steps": 1, "seed": 3}
    models = f"/v2/models/local/{model}"
    range_of = ((b"range", b"bytes=0-9"),)
    return [
        json_request("/api/v2/jobs", {"workflow": graph(model)}),
        json_request("/api/v2/jobs", job, headers=((b"idempotency-key", b"one"),)),
        Sent("GET", b"/api/v2/jobs?limit=2&cursor=9&metadata[a]=b"),
        Sent("GET", f"/api/v2/jobs/{ids['run_id']}/events".encode()),
        form_request("/api/v2/assets", fields, {"file": b"abc"}),
        form_request("/api/v2/assets", {"file_path": "a.png", "tags": "a"}, {"file": PNG}),
        json_request("/api/v2/assets/from-hash", {"hash": HASH, "file_path": "b", "tags": ["a"]}),
        Sent("GET", f"/api/v2/assets/by-hash/{HASH}".encode()),
        Sent("GET", f"/api/v2/assets/{ids['upload_id']}".encode()),
        Sent("GET", f"/api/v2/assets/{ids['upload_id']}/content".encode()),
        Sent("GET", ids["kept"].encode(), range_of),
        Sent("GET", b"/v2/models?limit=1&cursor=1"),
        Sent("GET", f"{models}/openapi.json".encode()),
        json_request(models, arguments, headers=((b"idempotency-key", b"two"),)),
        json_request(f"{models}/requests", arguments),
        Sent("GET", f"{models}/requests/{ids['run_id']}/status".encode()),
        Sent("GET", f"{models}/requests/{ids['run_id']}".encode()),
    ]
