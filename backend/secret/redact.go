package secret

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"freshet/backend/fault"
)

// What looks like a secret, where one has got into a text after all. This is the second line of defence: the first is
// that secrets are of type Secret.
var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:"'<>]*:)([^\s"'<>]+)@`)
	assigned = regexp.MustCompile(`(?i)((?:password|passwd|passphrase|pwd|secret|token|api[_.-]?key|private[_.-]?key)(?:\\?["'])?\s*[:=]\s*)` +
		`("(?:[^"\\]|\\.)+"|'(?:[^'\\]|\\.)+'|\\".+?\\"|[^\s"'&,;)}\]]+)`)
	port    = regexp.MustCompile(`^\d+/`) // http://host:8123/x@y
	bearer  = regexp.MustCompile(`(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}`)
	keyLike = regexp.MustCompile(`eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*` + // JSON Web Token
		`|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)` +
		`|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b` + // AWS
		`|AGE-SECRET-KEY-[0-9A-Z]+` +
		`|PRIVATE\+KEY\+[^\s"']+`) // signed note
)

// Redact puts (secret) in the place of what looks like one. References stay.
func Redact(s string) string {
	s = keyLike.ReplaceAllString(s, hidden)
	s = userinfo.ReplaceAllStringFunc(s, func(m string) string {
		part := userinfo.FindStringSubmatch(m)
		if IsRef(part[2]) || port.MatchString(part[2]) {
			return m
		}
		return part[1] + hidden + "@"
	})
	s = bearer.ReplaceAllString(s, "$1$2"+hidden)
	return assigned.ReplaceAllStringFunc(s, func(m string) string {
		part := assigned.FindStringSubmatch(m)
		value := strings.Trim(part[2], `\"'`)
		if IsRef(value) || strings.HasPrefix(value, hidden[:len(hidden)-1]) || isWord(value) {
			return m
		}
		quote := part[2][:len(part[2])-len(strings.TrimLeft(part[2], `\"'`))]
		return part[1] + quote + hidden + quote
	})
}

// isWord reports what stands in many JSON documents under such a name and is no secret.
func isWord(value string) bool {
	switch value {
	case "", "null", "true", "false", "[", "{":
		return true
	}
	return false
}

// Refuse refuses a document, which is to be stored, that holds what looks like a secret. References are none.
func Refuse(doc []byte) error {
	if Redact(string(doc)) == string(doc) {
		return nil
	}
	return fault.New(fault.Invalid, "store a definition", "give secrets as @env:NAME, @file:PATH or @keyring:NAME", "it holds what looks like a secret in the clear")
}

// LogHandler wraps a log handler so that what looks like a secret is not written.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ next slog.Handler }

func (h logHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, Redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return logHandler{h.next.WithAttrs(clean)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.next.WithGroup(name)} }

// redactAttr reads whatever the value is as text, where it is not a number, a time or the like. An attribute by a
// secret's name is hidden whatever it holds.
func redactAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		group := make([]slog.Attr, len(v.Group()))
		for i, g := range v.Group() {
			group[i] = redactAttr(g)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(group...)}
	case slog.KindString:
		return slog.String(a.Key, redactValue(a.Key, v.String()))
	case slog.KindAny:
		return slog.String(a.Key, redactValue(a.Key, fmt.Sprintf("%+v", v.Any())))
	}
	return slog.Attr{Key: a.Key, Value: v}
}

func redactValue(key, value string) string {
	if assigned.MatchString(key+"=x") && !IsRef(value) && !isWord(value) {
		return hidden
	}
	return Redact(value)
}
