package postgres

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// handling says how changes are written, by Debezium's options and their words. The zero value is Debezium's default, but
// that truncates are written and that no schemas are.
type handling struct {
	words map[string]string // of each option in handlingWords the one in use
	// noTombstones leaves out what follows a delete.
	noTombstones bool
	// skipped are operations that are not written; their places are kept.
	skipped string
	// keySchemas and valueSchemas put Kafka Connect's schema around what is written.
	keySchemas, valueSchemas bool

	keys             names // SCHEMA.TABLE.COLUMN of record keys that are not the tables' own
	include, exclude names // SCHEMA.TABLE.COLUMN
	masks            []mask

	transactions     bool // transaction's topic and each record's place in its transaction
	transactionTopic string

	whole           bool // transactions are sent once they have committed
	snapshotThreads int

	heartbeat       time.Duration // 0 for none
	heartbeatPrefix string
	heartbeatQuery  string

	includePrefixes, excludePrefixes names // of logical messages
}

// handlingWords are the options that say how values are encoded, with the words they take, the default first. They are
// told with each table's columns, so that who reads the records knows.
var handlingWords = map[string][]string{
	decimalOption:  {"precise", "string", "double"},
	binaryOption:   {"bytes", "base64", "base64-url-safe", "hex"},
	timeOption:     {"adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"},
	intervalOption: {"numeric", "string"},
	hstoreOption:   {"json", "map"},
	moneyOption:    {"2", "3", "4", "5", "6"},
	unknownOption:  {"text", "false", "true"},
}

const (
	decimalOption     = "decimal.handling.mode"
	binaryOption      = "binary.handling.mode"
	timeOption        = "time.precision.mode"
	intervalOption    = "interval.handling.mode"
	hstoreOption      = "hstore.handling.mode"
	moneyOption       = "money.fraction.digits"
	unknownOption     = "include.unknown.datatypes"
	tombstonesOption  = "tombstones.on.delete"
	skippedOption     = "skipped.operations"
	keySchemaOption   = "key.converter.schemas.enable"
	valueSchemaOption = "value.converter.schemas.enable"
	keyOption         = "message.key.columns"
	transactionOption = "provide.transaction.metadata"
	heartbeatOption   = "heartbeat.interval.ms"
	heartbeatQuery    = "heartbeat.action.query"
)

const (
	// usualThreads is how many connections read a snapshot unless told otherwise.
	usualThreads = 2
	maxThreads   = 32
)

// options are the others. Each reads its value, or says what could be given.
var options = map[string]func(h *handling, value string) (want string){
	tombstonesOption: func(h *handling, value string) string {
		var yes bool
		want := readBool(value, &yes)
		h.noTombstones = !yes
		return want
	},
	skippedOption:         (*handling).skip,
	keySchemaOption:       func(h *handling, value string) string { return readBool(value, &h.keySchemas) },
	valueSchemaOption:     func(h *handling, value string) string { return readBool(value, &h.valueSchemas) },
	keyOption:             (*handling).readKeys,
	"column.include.list": func(h *handling, value string) string { return readNames(value, &h.include) },
	"column.exclude.list": func(h *handling, value string) string { return readNames(value, &h.exclude) },
	transactionOption:     func(h *handling, value string) string { return readBool(value, &h.transactions) },
	"topic.transaction":   func(h *handling, value string) string { return readTopicPart(value, &h.transactionTopic) },
	heartbeatOption: func(h *handling, value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > int(24*time.Hour/time.Millisecond) {
			return "a number of milliseconds, at most a day; 0 for none"
		}
		h.heartbeat = time.Duration(n) * time.Millisecond
		return ""
	},
	"topic.heartbeat.prefix": func(h *handling, value string) string { return readTopicPart(value, &h.heartbeatPrefix) },
	"snapshot.max.threads": func(h *handling, value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxThreads {
			return fmt.Sprintf("a number up to %d", maxThreads)
		}
		h.snapshotThreads = n
		return ""
	},
	"streaming": func(h *handling, value string) string {
		var on bool
		want := readBool(value, &on)
		h.whole = !on
		return want
	},
	heartbeatQuery: func(h *handling, value string) string {
		h.heartbeatQuery = value
		return ""
	},
	"message.prefix.include.list": func(h *handling, value string) string { return readNames(value, &h.includePrefixes) },
	"message.prefix.exclude.list": func(h *handling, value string) string { return readNames(value, &h.excludePrefixes) },
}

// readHandling reads options by Debezium's names. An option that is not known here is refused: what a person asked for
// is done, or is said to be not.
func readHandling(properties map[string]string) (handling, error) {
	const op = "read source options"
	h := handling{words: map[string]string{}, transactionTopic: "transaction", heartbeatPrefix: "__debezium-heartbeat", snapshotThreads: usualThreads}
	for name, words := range handlingWords {
		h.words[name] = words[0]
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value, want := properties[name], ""
		if words := handlingWords[name]; words != nil {
			if h.words[name] = value; !slices.Contains(words, value) {
				want = "one of " + strings.Join(words, ", ")
			}
		} else if read := options[name]; read != nil {
			want = read(&h, value)
		} else if m, ok, err := readMask(name); err != nil {
			return h, err
		} else if ok {
			want = readNames(value, &m.columns)
			h.masks = append(h.masks, m)
			name = m.option
		} else {
			known := append(slices.Collect(maps.Keys(handlingWords)), slices.Collect(maps.Keys(options))...)
			known = append(known, maskOptions...)
			slices.Sort(known)
			return h, fault.New(fault.Invalid, op, "use one of "+strings.Join(known, ", "), "the option %q is not known", name)
		}
		if want != "" {
			return h, fault.New(fault.Invalid, op, "use "+want, "%s cannot be %q", name, value)
		}
	}
	if h.include != nil && h.exclude != nil {
		return h, fault.New(fault.Invalid, op, "use one of them", "column.include.list and column.exclude.list are both given")
	}
	if h.heartbeatQuery != "" && h.heartbeat == 0 {
		return h, fault.New(fault.Invalid, op, "give "+heartbeatOption+", too", "%s is given, and no heartbeat", heartbeatQuery)
	}
	return h, nil
}

func readBool(value string, to *bool) (want string) {
	*to = value == "true"
	if value != "true" && value != "false" {
		return "one of true, false"
	}
	return ""
}

func readTopicPart(value string, to *string) (want string) {
	*to = value
	if value == "" || cdc.TopicName(value) != value {
		return "what a topic's name may hold: letters, digits, '.', '_' and '-'"
	}
	return ""
}

// skip reads a list of operations, or none.
func (h *handling) skip(list string) (want string) {
	if list == "none" {
		return ""
	}
	for word := range strings.SplitSeq(list, ",") {
		switch word = strings.TrimSpace(word); word {
		case "c", "u", "d", "t":
			h.skipped += word
		default:
			return "some of c, u, d, t, or none"
		}
	}
	return ""
}

func (h *handling) schemas() bool { return h.keySchemas || h.valueSchemas }

func (h *handling) skips(op stream.Op) bool { return strings.IndexByte(h.skipped, byte(op)) >= 0 }

// readKeys reads SCHEMA.TABLE:COLUMN,COLUMN;…
func (h *handling) readKeys(list string) (want string) {
	for rule := range strings.SplitSeq(list, ";") {
		table, columns, ok := strings.Cut(rule, ":")
		if !ok || strings.TrimSpace(table) == "" {
			return "SCHEMA.TABLE:COLUMN,COLUMN and further tables behind a semicolon"
		}
		for column := range strings.SplitSeq(columns, ",") {
			if want := h.keys.add(strings.TrimSpace(table) + `\.` + strings.TrimSpace(column)); want != "" {
				return want
			}
		}
	}
	return ""
}

// names are regular expressions of whole names in any case, as Debezium matches columns and prefixes.
type names []*regexp.Regexp

// maxNames bounds a list of them.
const maxNames = 1000

func (n *names) add(expression string) (want string) {
	re, err := regexp.Compile("(?i)^(?:" + expression + ")$")
	if err != nil || len(*n) == maxNames {
		return fmt.Sprintf("at most %d regular expressions (RE2)", maxNames)
	}
	*n = append(*n, re)
	return ""
}

func (n names) match(name string) bool {
	return slices.ContainsFunc(n, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// readNames reads expressions that commas separate; one that belongs to an expression has a backslash before it.
func readNames(list string, to *names) (want string) {
	var one strings.Builder
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ',':
			if text := strings.TrimSpace(one.String()); text != "" {
				if want := to.add(text); want != "" {
					return want
				}
			}
			one.Reset()
			continue
		case list[i] == '\\' && i+1 < len(list) && list[i+1] == ',':
			i++
		}
		one.WriteByte(list[i])
	}
	if len(*to) == 0 {
		return "regular expressions, separated by commas"
	}
	return ""
}
