package cdc

import (
	"strings"

	"freshet/backend/fault"
)

const maxTopicName = 249 // Kafka's

// TopicName is the topic of a table as Debezium names it: PREFIX.SCHEMA.TABLE with every character that Kafka does not
// allow replaced by '_', cut to Kafka's length.
func TopicName(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		for _, r := range p {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
				b.WriteRune(r)
			default:
				b.WriteByte('_')
			}
		}
	}
	name := b.String()
	if len(name) > maxTopicName {
		name = name[:maxTopicName]
	}
	switch name {
	case ".":
		return "_"
	case "..":
		return "__"
	}
	return name
}

// Table names a table.
type Table struct{ Schema, Name string }

func (t Table) String() string { return t.Schema + "." + t.Name }

// TopicNames gives each table its topic, and refuses where two tables would share one.
func TopicNames(prefix string, tables []Table) (map[Table]string, error) {
	topics := make(map[Table]string, len(tables))
	owner := make(map[string]Table, len(tables))
	for _, t := range tables {
		name := TopicName(prefix, t.Schema, t.Name)
		if other, taken := owner[name]; taken && other != t {
			return nil, fault.New(fault.Invalid, "name topics", "capture them as two sources with different prefixes",
				"tables %s and %s would share the topic %s", other, t, name)
		}
		owner[name], topics[t] = t, name
	}
	return topics, nil
}

// Pattern matches tables. * stands for any characters, ? for one; a schema or table in double quotes is taken as it is.
type Pattern struct {
	text          string
	schema, table glob
}

// ParsePattern reads SCHEMA.TABLE.
func ParsePattern(s string) (Pattern, error) {
	schema, rest, ok := cutIdentifier(s)
	if ok && strings.HasPrefix(rest, ".") {
		table, rest, ok := cutIdentifier(rest[1:])
		if ok && rest == "" {
			return Pattern{s, schema, table}, nil
		}
	}
	return Pattern{}, fault.New(fault.Invalid, "read tables", `write SCHEMA.TABLE, for instance public.* or "Odd.Schema".orders`,
		"the table pattern %q cannot be read", s)
}

// Match reports whether t is meant.
func (p Pattern) Match(t Table) bool { return p.schema.match(t.Schema) && p.table.match(t.Name) }

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

func (p Pattern) many() bool { return p.schema.wild() || p.table.wild() }

// glob is an identifier's pattern; a quoted one has no wildcards.
type glob struct {
	text   string
	quoted bool
}

func (g glob) wild() bool { return !g.quoted && strings.ContainsAny(g.text, "*?") }

func (g glob) match(s string) bool {
	if g.quoted {
		return g.text == s
	}
	return matchGlob(g.text, s)
}

// matchGlob goes back to the last * only, so its time is bounded by len(pattern)*len(s).
func matchGlob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func cutIdentifier(s string) (g glob, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, '.')
		if end < 0 {
			end = len(s)
		}
		return glob{text: s[:end]}, s[end:], end > 0 && !strings.Contains(s[:end], `"`)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return glob{b.String(), true}, s[i+1:], b.Len() > 0
	}
	return glob{}, s, false
}
