-- The service: queue and leases, set times, cursors of subscribers, tokens. Moments that are compared here are
-- milliseconds since 1970 in UTC.

CREATE TABLE queue (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline    TEXT    NOT NULL,
    state       TEXT    NOT NULL,             -- waiting, leased
    triggers    TEXT    NOT NULL,             -- JSON: what asked for it
    tries       INTEGER NOT NULL DEFAULT 0,   -- failed tries before this one
    not_before  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    owner       TEXT,                         -- the process that has it
    lease_until INTEGER
);
-- What comes together is run together, and a pipeline has one run at a time.
CREATE UNIQUE INDEX queue_waiting ON queue (pipeline) WHERE state = 'waiting';
CREATE UNIQUE INDEX queue_leased ON queue (pipeline) WHERE state = 'leased';

ALTER TABLE pipelines ADD COLUMN sensitive TEXT;                    -- JSON: columns whose values are hidden
ALTER TABLE pipelines ADD COLUMN paused INTEGER;                    -- since when
ALTER TABLE pipelines ADD COLUMN claimed INTEGER NOT NULL DEFAULT 0; -- number of its last queue entry: who waited longest is next

CREATE TABLE trigger_state (
    pipeline TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    seen     INTEGER NOT NULL,                -- until when its set times have been looked at
    PRIMARY KEY (pipeline, name)
) WITHOUT ROWID;

CREATE TABLE cursors (
    subscriber TEXT    NOT NULL,
    pipeline   TEXT    NOT NULL,
    position   INTEGER NOT NULL,              -- last event (or run) it has
    PRIMARY KEY (subscriber, pipeline)
) WITHOUT ROWID;

CREATE TABLE subscribers (
    pipeline    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,             -- events, changes
    position    INTEGER NOT NULL,             -- last event it has; for changes, last run it has all of
    rows        INTEGER NOT NULL DEFAULT 0,   -- changed rows of the next run that it has already
    tries       INTEGER NOT NULL DEFAULT 0,   -- deliveries that failed in a row
    error       TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,   -- until when nobody else delivers, or nobody at all after a failure
    PRIMARY KEY (pipeline, name)
) WITHOUT ROWID;

CREATE TABLE silences (                       -- publishers of whom people were told that they are silent
    pipeline TEXT NOT NULL,
    source   TEXT NOT NULL,
    last     TEXT NOT NULL,                   -- what was newest then
    told     TEXT NOT NULL,                   -- JSON: the notifiers that were told
    PRIMARY KEY (pipeline, source)
) WITHOUT ROWID;

ALTER TABLE snapshots ADD COLUMN newest TEXT; -- newest value of the column by which the source's silence is told
ALTER TABLE snapshots ADD COLUMN expired INTEGER NOT NULL DEFAULT 0; -- its bytes are past their retention, and gone unless others need them
CREATE INDEX snapshots_by_age ON snapshots (pipeline, fetched_at) WHERE expired = 0;
-- Whether bytes are still needed is asked by hash; publications of several files are few.
CREATE INDEX snapshots_of_several ON snapshots (id) WHERE expired = 0 AND parts LIKE '%},{%';

CREATE TABLE tokens (
    name       TEXT PRIMARY KEY,
    hash       TEXT NOT NULL UNIQUE,          -- SHA-256 of the token; the token itself is nowhere
    scopes     TEXT NOT NULL,                 -- JSON: read, ingest, operate, admin
    created_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE pushed (
    pipeline TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    key      BLOB    NOT NULL,                -- digest of the Idempotency-Key
    at       INTEGER NOT NULL,
    PRIMARY KEY (pipeline, source, key)
) WITHOUT ROWID;
CREATE INDEX pushed_by_age ON pushed (at);

ALTER TABLE outbox ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;

CREATE INDEX runs_by_table ON runs (table_name, pipeline);
ALTER TABLE runs ADD COLUMN triggers TEXT;    -- JSON: what asked for it
ALTER TABLE runs ADD COLUMN trace TEXT;       -- W3C trace id
ALTER TABLE runs ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0; -- somebody wants it to end

ALTER TABLE events ADD COLUMN trace TEXT;
ALTER TABLE events ADD COLUMN cause TEXT;     -- id of the event that led to it

PRAGMA user_version = 2;
