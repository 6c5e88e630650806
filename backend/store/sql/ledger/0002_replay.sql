-- +goose Up
-- Plans: the canonical document never changes; body is the rest as JSON.
CREATE TABLE replay_plan (
  n        INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  hash     TEXT NOT NULL UNIQUE,
  state    TEXT NOT NULL,
  document TEXT NOT NULL,
  body     TEXT NOT NULL
) STRICT;

CREATE TABLE replay_approval (
  n         INTEGER PRIMARY KEY,
  plan_hash TEXT NOT NULL REFERENCES replay_plan (hash),
  body      TEXT NOT NULL
) STRICT;
CREATE INDEX replay_approval_plan ON replay_approval (plan_hash);

-- Jobs: what a lease is about in columns, the rest but the shards as JSON. A plan has a run once.
CREATE TABLE replay_job (
  n              INTEGER PRIMARY KEY,
  id             TEXT NOT NULL UNIQUE,
  plan_hash      TEXT NOT NULL REFERENCES replay_plan (hash),
  run            INTEGER NOT NULL,
  epoch          INTEGER NOT NULL,
  holder         TEXT NOT NULL,
  lease_until_us INTEGER NOT NULL,
  intent         INTEGER NOT NULL,
  body           TEXT NOT NULL,
  UNIQUE (plan_hash, run)
) STRICT;

CREATE TABLE replay_shard (
  job       TEXT NOT NULL REFERENCES replay_job (id),
  partition INTEGER NOT NULL,
  body      TEXT NOT NULL,
  PRIMARY KEY (job, partition)
) STRICT, WITHOUT ROWID;

-- Records that were set aside: where they are, never what they hold.
CREATE TABLE replay_parked (
  n         INTEGER PRIMARY KEY,
  owner     TEXT NOT NULL,
  topic     TEXT NOT NULL,
  partition INTEGER NOT NULL,
  "offset"  INTEGER NOT NULL,
  kind      TEXT NOT NULL,
  reason    TEXT NOT NULL,
  at_us     INTEGER NOT NULL,
  UNIQUE (owner, topic, partition, "offset")
) STRICT;
