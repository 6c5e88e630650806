package app

import "testing"

// What mends a finding is a whole statement, whatever stands around it.
func TestFindingHasItsStatement(t *testing.T) {
	for text, want := range map[string]string{
		"wal_level is replica (ALTER SYSTEM SET wal_level = logical, then restart the server)":                                                                                          "ALTER SYSTEM SET wal_level = logical",
		"max_slot_wal_keep_size is -1: a slot that nobody reads fills the disk; set a limit (ALTER SYSTEM SET max_slot_wal_keep_size = '50GB') to lose the slot rather than the server": "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'",
		`the role x may not replicate (ALTER ROLE "x" REPLICATION)`:                                                                                                                     `ALTER ROLE "x" REPLICATION`,
		"an earlier one left it (then SELECT pg_drop_replication_slot('freshet_shop'))":                                                                                                 "SELECT pg_drop_replication_slot('freshet_shop')",
		"does not own t (have their owner run: CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert'))":                                                                             "CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')",
		"the server refuses the application's updates and deletes of it. ALTER TABLE public.t REPLICA IDENTITY FULL":                                                                    "ALTER TABLE public.t REPLICA IDENTITY FULL",
		"the server is a standby, name the primary":                                                                                                                                     "",
	} {
		if f := finding("warning", "X", text); f.Mend != want || f.Text != text {
			t.Errorf("%q mends %q, want %q", text, f.Mend, want)
		}
	}
}
