-- The ledger: runs, publications, quarantine, events, outbox. All times are RFC 3339 in UTC.

CREATE TABLE runs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline     TEXT    NOT NULL,
    kind         TEXT    NOT NULL,             -- run, replay, backfill
    state        TEXT    NOT NULL,
    inputs       TEXT    NOT NULL,             -- JSON: source name to snapshot id
    definition   TEXT    NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 1,
    set_aside    INTEGER NOT NULL DEFAULT 0,
    approved     INTEGER NOT NULL DEFAULT 0,
    table_name   TEXT    NOT NULL,
    table_key    TEXT    NOT NULL,             -- JSON: column names
    receipt      TEXT,                         -- JSON
    changeset    TEXT,                         -- JSON: file, rows, bytes, sha256
    report       TEXT,                         -- JSON: restatement, sample, violations, drift
    published_at TEXT    NOT NULL,             -- the newest publication it reads
    created_at   TEXT    NOT NULL,
    finished_at  TEXT
);
CREATE INDEX runs_by_pipeline ON runs (pipeline, state, id);

CREATE TABLE snapshots (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline     TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    sha256       TEXT    NOT NULL,
    bytes        INTEGER NOT NULL,
    parts        TEXT    NOT NULL,             -- JSON: [{name, sha256, bytes}]
    header       TEXT,                         -- JSON: column names, once parsed
    status       TEXT    NOT NULL,             -- fetched, accepted, discarded, set_aside
    published_at TEXT    NOT NULL,
    fetched_at   TEXT    NOT NULL
);
CREATE INDEX snapshots_by_source ON snapshots (pipeline, source, id);
CREATE INDEX snapshots_by_hash ON snapshots (sha256);

CREATE TABLE source_state (
    pipeline     TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    validators   TEXT    NOT NULL,             -- JSON: etag, last_modified
    latest       INTEGER NOT NULL,             -- snapshot the validators belong to
    accepted     INTEGER,                      -- snapshot the table is built from
    place        TEXT    NOT NULL,             -- where it came from; another place, other validators
    PRIMARY KEY (pipeline, source)
) WITHOUT ROWID;

CREATE TABLE pipelines (
    name         TEXT PRIMARY KEY,
    path         TEXT NOT NULL,
    incident     TEXT,                         -- JSON: the open trouble
    told         TEXT                          -- JSON: the notifiers that were told of it
) WITHOUT ROWID;

CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline       TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    identity       TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    row            TEXT    NOT NULL,           -- JSON: the row and the reason
    first_run      INTEGER NOT NULL,
    last_run       INTEGER NOT NULL,
    seen           INTEGER NOT NULL,
    closed_run     INTEGER,
    closed_because TEXT,
    opened_at      TEXT    NOT NULL
);
CREATE INDEX quarantine_open ON quarantine (pipeline, source, status, identity);

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    kind     TEXT    NOT NULL,
    pipeline TEXT    NOT NULL,
    run      INTEGER,
    time     TEXT    NOT NULL,
    data     TEXT    NOT NULL
);
CREATE INDEX events_by_run ON events (run);

CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery   TEXT    NOT NULL UNIQUE,        -- what the receiver knows a repetition by
    pipeline   TEXT    NOT NULL,
    run        INTEGER NOT NULL,
    notifier   INTEGER NOT NULL,               -- its place in the pipeline file
    kind       TEXT    NOT NULL,
    message    TEXT    NOT NULL,               -- JSON
    status     TEXT    NOT NULL,               -- pending, sent, given_up
    tries      INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at TEXT    NOT NULL,
    sent_at    TEXT
);
CREATE INDEX outbox_pending ON outbox (pipeline, status, id);

PRAGMA user_version = 1;
