package postgres

import (
	"maps"
	"slices"
	"strings"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// handling says how changes are written, by Debezium's options and their words. The zero value is Debezium's default, but
// that truncates are written.
type handling struct {
	words map[string]string // of each option in handlingWords the one in use
	// noTombstones leaves out what follows a delete.
	noTombstones bool
	// skipped are operations that are not written; their places are kept.
	skipped string
}

// handlingWords are the options that say how values are encoded, with the words they take, the default first. They are
// told with each table's columns, so that who reads the records knows.
var handlingWords = map[string][]string{
	decimalOption:           {"precise", "string", "double"},
	binaryOption:            {"bytes", "base64", "base64-url-safe", "hex"},
	timeOption:              {"adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"},
	intervalOption:          {"numeric", "string"},
	hstoreOption:            {"json", "map"},
	"money.fraction.digits": {"2"},
}

const (
	decimalOption    = "decimal.handling.mode"
	binaryOption     = "binary.handling.mode"
	timeOption       = "time.precision.mode"
	intervalOption   = "interval.handling.mode"
	hstoreOption     = "hstore.handling.mode"
	tombstonesOption = "tombstones.on.delete"
	skippedOption    = "skipped.operations"
)

// readHandling reads options by Debezium's names. An option that is not known here is refused: what a person asked for
// is done, or is said to be not.
func readHandling(properties map[string]string) (handling, error) {
	const op = "read source options"
	h := handling{words: map[string]string{}}
	for name, words := range handlingWords {
		h.words[name] = words[0]
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value := properties[name]
		words := handlingWords[name]
		switch {
		case name == tombstonesOption:
			words = []string{"true", "false"}
			h.noTombstones = value == "false"
		case name == skippedOption:
			if err := h.skip(value); err != nil {
				return h, err
			}
			continue
		case words == nil:
			known := append(slices.Sorted(maps.Keys(handlingWords)), skippedOption, tombstonesOption)
			return h, fault.New(fault.Invalid, op, "use one of "+strings.Join(known, ", "), "the option %q is not known", name)
		default:
			h.words[name] = value
		}
		if !slices.Contains(words, value) {
			return h, fault.New(fault.Invalid, op, "use one of "+strings.Join(words, ", "), "%s cannot be %q", name, value)
		}
	}
	return h, nil
}

// skip reads a list of operations, or none.
func (h *handling) skip(list string) error {
	if list == "none" {
		return nil
	}
	for word := range strings.SplitSeq(list, ",") {
		switch word = strings.TrimSpace(word); word {
		case "c", "u", "d", "t":
			h.skipped += word
		default:
			return fault.New(fault.Invalid, "read source options", "list some of c, u, d, t, or none", "%s cannot have %q", skippedOption, word)
		}
	}
	return nil
}

func (h *handling) skips(op stream.Op) bool { return strings.IndexByte(h.skipped, byte(op)) >= 0 }
