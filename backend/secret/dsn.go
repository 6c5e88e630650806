package secret

import (
	"context"
	"net/url"
	"strings"

	"freshet/backend/fault"
)

// dsnNext is the next step for a DSN that cannot be read. The DSN itself, which may hold a password, is never repeated.
const dsnNext = "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE or as host=HOST user=USER password=PASSWORD dbname=DATABASE"

// TakeDSN takes a connection string apart for keeping: what may be stored and shown, without the password, and a
// reference to the password, "" where it has none. A password in the clear is kept under name. A DSN that is a reference
// as a whole stays one.
func (s *Store) TakeDSN(ctx context.Context, name, dsn string) (clean, ref string, err error) {
	if IsRef(dsn) {
		full, err := s.Resolve(ctx, dsn)
		if err == nil {
			_, _, err = SplitDSN(full.Reveal())
		}
		return dsn, "", err
	}
	clean, password, err := SplitDSN(dsn)
	if err != nil || password.IsZero() {
		return clean, "", err
	}
	ref, err = s.Take(ctx, name, password.Reveal())
	return clean, ref, err
}

// FullDSN puts together again what TakeDSN took apart.
func (s *Store) FullDSN(ctx context.Context, clean, ref string) (Secret, error) {
	if IsRef(clean) {
		return s.Resolve(ctx, clean)
	}
	if ref == "" {
		return New(clean), nil
	}
	password, err := s.Resolve(ctx, ref)
	if err != nil {
		return Secret{}, err
	}
	return JoinDSN(clean, password)
}

// SplitDSN takes the password out of a URL or of a key=value connection string.
func SplitDSN(dsn string) (clean string, password Secret, err error) {
	if strings.Contains(dsn, "://") {
		return splitURL(dsn)
	}
	pairs, ok := parsePairs(dsn)
	if !ok {
		return "", Secret{}, badDSN("it is neither a URL nor a list of key=value")
	}
	var kept []pair
	for _, p := range pairs {
		switch p.key {
		case "password":
			password = New(p.value)
		case "sslpassword":
			return "", Secret{}, badDSN("sslpassword is not supported; use a client key without one")
		default:
			kept = append(kept, p)
		}
	}
	return formatPairs(kept), password, nil
}

func badDSN(why string) error {
	return fault.New(fault.Invalid, "read the connection string", dsnNext, "%s", why)
}

func splitURL(dsn string) (string, Secret, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" || u.Opaque != "" || u.Host == "" && u.User == nil && u.Path == "" {
		return "", Secret{}, badDSN("the URL cannot be read; a password with special characters must be percent-encoded")
	}
	var password Secret
	if u.User != nil {
		if text, ok := u.User.Password(); ok {
			password = New(text)
			u.User = url.User(u.User.Username())
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", Secret{}, badDSN("the URL's parameters cannot be read")
	}
	if query.Has("sslpassword") {
		return "", Secret{}, badDSN("sslpassword is not supported; use a client key without one")
	}
	if query.Has("password") {
		password = New(query.Get("password"))
		query.Del("password")
		u.RawQuery = query.Encode()
	}
	return u.String(), password, nil
}

// JoinDSN puts a password into a connection string that has none.
func JoinDSN(clean string, password Secret) (Secret, error) {
	if strings.Contains(clean, "://") {
		u, err := url.Parse(clean)
		if err != nil {
			return Secret{}, badDSN("the URL cannot be read")
		}
		u.User = url.UserPassword(u.User.Username(), password.Reveal())
		return New(u.String()), nil
	}
	pairs, ok := parsePairs(clean)
	if !ok {
		return Secret{}, badDSN("it is neither a URL nor a list of key=value")
	}
	return New(formatPairs(append(pairs, pair{"password", password.Reveal()}))), nil
}

type pair struct{ key, value string }

// parsePairs reads libpq's key = 'value' form (https://www.postgresql.org/docs/current/libpq-connect.html).
func parsePairs(s string) (pairs []pair, ok bool) {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return pairs, len(pairs) > 0
		}
		key, rest, found := strings.Cut(s, "=")
		key = strings.TrimRight(key, " \t\r\n")
		if !found || key == "" || strings.ContainsAny(key, " \t\r\n'\\") {
			return nil, false
		}
		var value strings.Builder
		s = strings.TrimLeft(rest, " \t\r\n")
		quoted := strings.HasPrefix(s, "'")
		if quoted {
			s = s[1:]
		}
		end := false
		i := 0
		for ; i < len(s) && !end; i++ {
			switch c := s[i]; {
			case c == '\\' && i+1 < len(s):
				i++
				value.WriteByte(s[i])
			case quoted && c == '\'', !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
				end = true
			default:
				value.WriteByte(c)
			}
		}
		if quoted && !end {
			return nil, false
		}
		s = s[i:]
		pairs = append(pairs, pair{key, value.String()})
	}
}

func formatPairs(pairs []pair) string {
	words := make([]string, len(pairs))
	for i, p := range pairs {
		value := p.value
		if value == "" || strings.ContainsAny(value, " \t\r\n'\\") {
			value = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
		}
		words[i] = p.key + "=" + value
	}
	return strings.Join(words, " ")
}
