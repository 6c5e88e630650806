-- +goose Up
-- The newest of an owner are looked at again and again.
CREATE INDEX replay_parked_newest ON replay_parked (owner, n);
