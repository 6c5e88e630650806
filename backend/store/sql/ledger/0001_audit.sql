-- +goose Up
CREATE TABLE audit_meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- One leaf an entry: the canonical JSON that is hashed.
CREATE TABLE audit_entry (
  seq  INTEGER PRIMARY KEY,
  leaf TEXT NOT NULL
) STRICT;

-- The tree's hashes in the order of tlog.StoredHashIndex.
CREATE TABLE audit_hash (
  idx  INTEGER PRIMARY KEY,
  hash BLOB NOT NULL
) STRICT;

-- Signed tree heads; each has a copy in the file "checkpoints" beside this database.
CREATE TABLE audit_checkpoint (
  size INTEGER PRIMARY KEY,
  note TEXT NOT NULL
) STRICT;

-- Public keys that checkpoints verify with, oldest first.
CREATE TABLE audit_key (
  id  INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE
) STRICT;

-- Intents that have no result yet. Derived: only a restart reads it.
CREATE TABLE audit_open (
  seq INTEGER PRIMARY KEY
) STRICT;
