// Package imports reads the Kafka connections that other tools keep in files of their own. What Freshet cannot take over
// is said in words; nothing is guessed.
package imports

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/secret"
)

// What a file may hold.
const (
	MaxText        = 1 << 20
	maxConnections = 200
	maxBrokers     = 100
	maxValue       = 2000
	maxName        = 63
	maxLacks       = 20
)

// The tools, as people call them.
const (
	rpk        = "rpk"
	kcat       = "kcat"
	kaf        = "kaf"
	kafkactl   = "kafkactl"
	javaClient = "Java client"
	kafkaUI    = "Kafka UI"
	akhq       = "AKHQ"
)

// pasted is text without a file's name.
const pasted = "the text"

// Connection is one that a tool has.
type Connection struct {
	Tool  string
	Spec  api.ClusterSpec // its Password is in the clear
	Lacks []string        // what could not be taken over, and why
}

// Read finds the connections in a file of any tool that it knows, by its text and its name. No error repeats what the text
// holds: it may be a password.
func Read(name string, text []byte) ([]Connection, error) {
	base := filepath.Base(filepath.ToSlash(name))
	if name == "" {
		base = pasted
	}
	op := "read " + base
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	switch {
	case len(text) > MaxText:
		return nil, fault.New(fault.Invalid, op, "give the part that holds the connection", "it is larger than 1 MiB")
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return nil, fault.New(fault.Invalid, op, "give the tool's own configuration file", "it is no text in UTF-8")
	}
	var found []Connection
	if isProperties(base, text) {
		found = fromProperties(base, string(text))
	} else {
		var err error
		if found, err = fromYAML(base, op, text); err != nil {
			return nil, err
		}
	}
	switch {
	case len(found) == 0:
		return nil, fault.New(fault.Invalid, op, "give a file of rpk, kcat, kaf, kafkactl, Kafka UI or AKHQ, or a Java client's properties", "no connection was found in it")
	case len(found) > maxConnections:
		return nil, fault.New(fault.Invalid, op, "give the part that is needed", "it holds more than %d connections", maxConnections)
	}
	distinct(found)
	return found, nil
}

// distinct makes the names differ: a connection is asked for by its name.
func distinct(all []Connection) {
	seen := map[string]bool{}
	for i := range all {
		name := all[i].Spec.Name
		for n := 2; seen[name]; n++ {
			name = fmt.Sprintf("%s-%d", cut(all[i].Spec.Name, maxName-4), n)
		}
		seen[name] = true
		all[i].Spec.Name = name
	}
}

// begin is a connection of which the name is known, or the tool alone.
func begin(tool, name string) Connection {
	c := Connection{Tool: tool, Spec: api.ClusterSpec{Brokers: []string{}}, Lacks: []string{}}
	c.Spec.Name = cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)), maxName)
	if c.Spec.Name == "" || placeholder.MatchString(name) {
		c.Spec.Name = strings.ReplaceAll(strings.ToLower(tool), " ", "-")
	}
	return c
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.TrimSpace(s[:most])
}

func (c *Connection) lack(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(c.Lacks) < maxLacks && !slices.Contains(c.Lacks, s) {
		c.Lacks = append(c.Lacks, s)
	}
}

// placeholder is what a tool fills in from its surroundings. Only its name is repeated: a default after the colon may be
// a password.
var placeholder = regexp.MustCompile(`[$#]\{\s*([A-Za-z0-9_.\-]{0,80})[^}]*\}|\{\{.*\}\}`)

// value is a setting that is there and can be used as it stands, or "".
func (c *Connection) value(what, v string) string {
	v = strings.TrimSpace(v)
	if m := placeholder.FindStringSubmatch(v); m != nil {
		name := "a placeholder"
		if m[1] != "" {
			name = "${" + m[1] + "}"
		}
		c.lack("%s: it is %s, which is filled in where %s runs", what, name, c.Tool)
		return ""
	}
	if len(v) > maxValue || strings.ContainsFunc(v, unicode.IsControl) {
		c.lack("%s: it is longer than %d characters, or not on one line", what, maxValue)
		return ""
	}
	return v
}

// brokers takes HOST:PORT, with or without a protocol before it. port is what the tool assumes, "" nothing.
func (c *Connection) brokers(list []string, port string) {
	for _, given := range list {
		for b := range strings.SplitSeq(given, ",") {
			b = c.value("a broker", b)
			if _, rest, ok := strings.Cut(b, "://"); ok {
				b = rest
			}
			if b == "" {
				continue
			}
			if _, _, err := net.SplitHostPort(b); err != nil && port != "" {
				b = net.JoinHostPort(strings.Trim(b, "[]"), port)
			}
			if len(c.Spec.Brokers) == maxBrokers {
				c.lack("brokers: there are more than %d, the first are enough", maxBrokers)
				return
			}
			c.Spec.Brokers = append(c.Spec.Brokers, b)
		}
	}
	if len(c.Spec.Brokers) == 0 {
		c.lack("brokers: none is named that can be used")
	}
}

// file takes the path of a PEM file. A relative one depends on where the tool was started.
func (c *Connection) file(what, v string) string {
	v = c.value(what, v)
	if v != "" && !filepath.IsAbs(v) {
		c.lack("%s: %s depends on where %s is started, give it in full", what, v, c.Tool)
		return ""
	}
	return v
}

// certificate takes our certificate and its key, both or neither.
func (c *Connection) certificate(cert, key string) {
	certFile, keyFile := c.file("the certificate", cert), c.file("the certificate's key", key)
	switch {
	case certFile != "" && keyFile != "":
		c.Spec.CertFile, c.Spec.KeyFile = certFile, keyFile
	case certFile != "" && key == "":
		c.lack("the certificate %s: its key is not named", certFile)
	case keyFile != "" && cert == "":
		c.lack("the key %s: its certificate is not named", keyFile)
	}
}

func (c *Connection) unchecked() {
	c.lack("the broker's certificate is not checked there; Freshet always checks it, give the authority's file if it is your own")
}

// sasl takes how to sign in. Java and librdkafka assume Kerberos where nothing is said.
func (c *Connection) sasl(mechanism, user, password string) {
	given := c.value("the SASL mechanism", mechanism)
	if given == "" && mechanism != "" {
		return
	}
	switch m := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(given)); m {
	case "plain", "plaintext":
		c.Spec.SASL = "plain"
	case "scramsha256":
		c.Spec.SASL = "scram-sha-256"
	case "scramsha512":
		c.Spec.SASL = "scram-sha-512"
	case "gssapi", "":
		c.lack("signing in by Kerberos (GSSAPI): Freshet signs in by PLAIN or SCRAM")
		return
	default:
		c.lack("signing in by %s: Freshet signs in by PLAIN or SCRAM", cut(strings.ToUpper(given), 40))
		return
	}
	c.Spec.User = c.value("the user", user)
	if c.Spec.User == "" && strings.TrimSpace(user) == "" {
		c.lack("the user: none is in the file")
	}
	switch p := c.value("the password", password); {
	case p == "" && password == "":
		c.lack("the password: none is in the file")
	case secret.IsRef(p):
		// It would be looked up instead of used.
		c.lack("the password: it begins as one of Freshet's references does")
	case p != "":
		c.Spec.Password = password
	}
}

func (c *Connection) registry(there bool) {
	if there {
		c.lack("its schema registry: Freshet connects to the brokers alone")
	}
}
