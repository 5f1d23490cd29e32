"""The tables beside dbos's own: runs, their outputs and webhooks, and what they are made from.

Times are seconds since the epoch; JSON is text, so that SQLite and PostgreSQL are the same.
"""

import sqlalchemy as sa

VERSION = 1
"""Of these tables: whoever changes what older gateways would misread raises it."""

metadata = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

schema = sa.Table("gateway_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

runs = sa.Table(
    "gateway_runs",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("live_status", sa.Text),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("queued_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("batch_id", sa.String(64), index=True),
    sa.Column("queue", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("notes", sa.Text, nullable=False),
    sa.Column("order", sa.Text, nullable=False),
    sa.Column("webhook", sa.Text),
    sa.Column("webhook_steps", sa.Boolean, nullable=False),
    sa.Column("webhook_sequence", sa.Integer, nullable=False, default=0),
    sa.Index("gateway_runs_by_status", "status", "number"),
    sa.Index("gateway_runs_by_owner", "owner", "number"),
    sa.Index("gateway_runs_by_end", "ended_at"),
    sqlite_autoincrement=True,
)

places = sa.Table(
    "gateway_places",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("num_samples", sa.Integer, nullable=False),
    sa.Column("run_limit", _BIG),
    sa.Column("waits", sa.Boolean, nullable=False),
    sa.Index("gateway_places_by_owner", "owner", "run_limit"),
    sa.Index("gateway_places_by_turn", "waits", "number"),
    sqlite_autoincrement=True,
)

claims = sa.Table(
    "gateway_claims",
    metadata,
    sa.Column("subject", sa.String(96), primary_key=True),
    sa.Column("holder", sa.String(64)),
    sa.Column("crashes", sa.Integer, nullable=False),
)

calendar = sa.Table(
    "gateway_calendar",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)

outputs = sa.Table(
    "gateway_outputs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("run_id", sa.String(64), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

webhook_events = sa.Table(
    "gateway_webhook_events",
    metadata,
    sa.Column("id", sa.String(96), primary_key=True),
    sa.Column("run_id", sa.String(64), nullable=False, index=True),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Index("gateway_webhook_events_by_state", "state"),
)

"""Of runs and of batches: `run_id` is that of either."""

webhook_attempts = sa.Table(
    "gateway_webhook_attempts",
    metadata,
    sa.Column("event_id", sa.String(96), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(64), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("fault", sa.Text),
    sa.Column("is_final", sa.Boolean, nullable=False),
)

workflows = sa.Table(
    "gateway_workflows",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

versions = sa.Table(
    "gateway_workflow_versions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workflow_id", sa.String(64), nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("graph", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.UniqueConstraint("workflow_id", "version"),
)

deployments = sa.Table(
    "gateway_deployments",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False, index=True),
    sa.Column("workflow_id", sa.String(64), nullable=False),
    sa.Column("workflow_version_id", sa.String(64), nullable=False),
    sa.Column("machine_id", sa.String(128), nullable=False),
    sa.Column("environment", sa.String(32), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

files = sa.Table(
    "gateway_files",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content_type", sa.String(128), nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

file_hashes = sa.Table(
    "gateway_file_hashes",
    metadata,
    sa.Column("file_id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("hash", sa.String(80), nullable=False),
    sa.Index("gateway_file_hashes_by_hash", "owner", "hash"),
)
"""By which a client that has a file's bytes learns that they are here."""

kept = sa.Table(
    "gateway_kept",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("until", sa.Float),
    sa.Column("is_claimed", sa.Boolean, nullable=False),
    sa.Index("gateway_kept_open", "owner", "until"),
)
"""What an owner has in the store; with `until`, what it may or is about to have there."""

kept_totals = sa.Table(
    "gateway_kept_totals",
    metadata,
    sa.Column("owner", sa.String(128), primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
)

batches = sa.Table(
    "gateway_batches",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("gateway_batches_by_owner", "owner", "number"),
    sa.Index("gateway_batches_by_status", "status", "changed_at"),
    sqlite_autoincrement=True,
)

batch_answers = sa.Table(
    "gateway_batch_answers",
    metadata,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("failed", sa.Boolean, nullable=False),
)

batch_tokens = sa.Table(
    "gateway_batch_tokens",
    metadata,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("read", _BIG, nullable=False),
    sa.Column("made", _BIG, nullable=False),
)
"""What the lines that are answered took, as `usage` counts it."""

hooks = sa.Table(
    "gateway_hooks",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("gateway_hooks_by_owner", "owner", "number"),
    sqlite_autoincrement=True,
)

batch_files = sa.Table(
    "gateway_batch_files",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("gateway_batch_files_by_owner", "owner", "number"),
    sqlite_autoincrement=True,
)

secrets = sa.Table(
    "gateway_secrets",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("secret", sa.LargeBinary, nullable=False, unique=True),
)
"""What the fronts of this database sign with: the first; the others are known."""

keys = sa.Table(
    "gateway_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("body", sa.Text, nullable=False),
)
"""One that was revoked stays, so that no folder it came from brings it back."""

adapters = sa.Table(
    "gateway_adapters",
    metadata,
    sa.Column("id", sa.String(256), primary_key=True),
    sa.Column("number", _BIG, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("path", sa.Text),
)
"""Those loaded by request, and with no path those unloaded; `number` is that of the change."""

changes = sa.Table(
    "gateway_changes",
    metadata,
    sa.Column("subject", sa.String(32), primary_key=True),
    sa.Column("number", _BIG, nullable=False),
)
"""How often each of the tables above has changed, so that fronts see it by a glance."""

requests = sa.Table(
    "gateway_requests",
    metadata,
    sa.Column("number", _BIG, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("num_requests", sa.Integer, nullable=False),
    sa.Index("gateway_requests_by_owner", "owner", "at"),
    sqlite_autoincrement=True,
)
"""Of each key's minute what has been granted to fronts, in small shares."""

samples = sa.Table(
    "gateway_samples",
    metadata,
    sa.Column("owner", sa.String(128), primary_key=True),
    sa.Column("front", sa.String(64), primary_key=True),
    sa.Column("interactive", sa.Integer, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
"""Those of each key that a front draws at once; a front that is gone holds none from `until` on."""
