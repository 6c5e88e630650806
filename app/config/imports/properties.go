package imports

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	propertyLine = regexp.MustCompile(`^[A-Za-z][\w.\-]*\s*=`)
	// What only librdkafka has.
	rdkafkaKeys = []string{"metadata.broker.list", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "enable.ssl.certificate.verification", "ssl.ca.pem"}
)

// isProperties tells KEY=VALUE from YAML.
func isProperties(base string, text []byte) bool {
	switch strings.ToLower(filepath.Ext(base)) {
	case ".properties", ".conf":
		return true
	case ".yml", ".yaml", ".json":
		return false
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != '!' {
			return propertyLine.MatchString(line)
		}
	}
	return false
}

// fromProperties reads a Java client's properties, or kcat's: both are one connection without a name.
func fromProperties(base, text string) []Connection {
	tool := javaClient
	props := rdkafkaProperties(text)
	ofJava := props["sasl.jaas.config"] != "" || props["ssl.truststore.location"] != "" || props["ssl.keystore.location"] != ""
	for _, k := range rdkafkaKeys {
		if _, ok := props[k]; ok && !ofJava {
			tool = kcat
		}
	}
	if strings.Contains(base, "kcat") || strings.Contains(base, "kafkacat") {
		tool = kcat
	}
	if tool == javaClient {
		props = javaProperties(text)
	}
	if !isConnection(props) {
		return nil
	}
	c := begin(tool, nameOf(base))
	c.properties(props)
	return []Connection{c}
}

// nameOf is a file's name without what says its kind.
func nameOf(base string) string {
	return strings.TrimSuffix(strings.TrimSuffix(base, filepath.Ext(base)), pasted)
}

func isConnection(props map[string]string) bool {
	for _, k := range []string{"bootstrap.servers", "metadata.broker.list", "security.protocol", "sasl.jaas.config", "sasl.mechanism", "sasl.mechanisms"} {
		if props[k] != "" {
			return true
		}
	}
	return false
}

// rdkafkaProperties are lines of KEY=VALUE, as they are.
func rdkafkaProperties(text string) map[string]string {
	props := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, v, ok := strings.Cut(line, "="); ok && line[0] != '#' {
			props[strings.TrimSpace(key)] = strings.TrimSpace(v)
		}
	}
	return props
}

// javaProperties reads what java.util.Properties does: lines that go on, escapes, and = : or a space after the key.
func javaProperties(text string) map[string]string {
	props := map[string]string{}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		var whole strings.Builder
		for goesOn(line) && i+1 < len(lines) {
			whole.WriteString(line[:len(line)-1])
			i++
			line = strings.TrimLeft(lines[i], " \t\f")
		}
		whole.WriteString(line)
		key, v := splitProperty(whole.String())
		props[unescape(key)] = unescape(v)
	}
	return props
}

func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	value = strings.TrimLeft(line[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return line[:end], value
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'u':
			if i+4 < len(s) {
				if r, err := strconv.ParseUint(s[i+1:i+5], 16, 16); err == nil {
					b.WriteRune(rune(r))
					i += 4
				}
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// properties maps the settings of a Kafka client, Java's and librdkafka's.
func (c *Connection) properties(p map[string]string) {
	port := ""
	if c.Tool == kcat {
		port = "9092"
	}
	c.brokers([]string{first(p, "bootstrap.servers", "metadata.broker.list")}, port)
	protocol := strings.ToUpper(c.value("the security protocol", p["security.protocol"]))
	c.Spec.TLS = strings.HasSuffix(protocol, "SSL")
	switch protocol {
	case "", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		c.lack("the security protocol %s: Freshet does not know it", cut(protocol, 40))
	}
	if c.Spec.TLS {
		c.tlsProperties(p)
	}
	if strings.HasPrefix(protocol, "SASL_") {
		user, password := p["sasl.username"], p["sasl.password"]
		if jaas := c.jaas(p["sasl.jaas.config"]); jaas != nil {
			user, password = jaas["username"], jaas["password"]
		}
		c.sasl(first(p, "sasl.mechanism", "sasl.mechanisms"), user, password)
	} else if p["security.protocol"] == "" && first(p, "sasl.mechanism", "sasl.mechanisms", "sasl.jaas.config") != "" {
		c.lack("signing in: security.protocol is not set, so its SASL settings are not used there")
	}
	for _, k := range []string{"sasl.client.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class", "ssl.engine.factory.class"} {
		if p[k] != "" {
			c.lack("%s: it is a class of %s's own", k, c.Tool)
		}
	}
	c.registry(p["schema.registry.url"] != "")
}

func (c *Connection) tlsProperties(p map[string]string) {
	if v := p["ssl.ca.location"]; v != "probe" { // librdkafka's word for the system's own
		c.Spec.CAFile = c.file("the authority", v)
	}
	c.certificate(p["ssl.certificate.location"], p["ssl.key.location"])
	if v := p["ssl.truststore.location"]; v != "" {
		if strings.EqualFold(p["ssl.truststore.type"], "PEM") {
			c.Spec.CAFile = c.file("the authority", v)
		} else {
			c.lack("the authority: %s is a Java keystore, Freshet reads PEM: `keytool -exportcert -rfc` writes it", c.shown(v))
		}
	}
	if v := p["ssl.keystore.location"]; v != "" {
		if strings.EqualFold(p["ssl.keystore.type"], "PEM") {
			c.certificate(v, v) // Java keeps both in one file
		} else {
			c.lack("the certificate: %s is a keystore, Freshet reads PEM: `openssl pkcs12` writes it", c.shown(v))
		}
	}
	if first(p, "ssl.ca.pem", "ssl.truststore.certificates") != "" {
		c.lack("the authority: its certificates are in the settings themselves, save them as a PEM file")
	}
	if first(p, "ssl.certificate.pem", "ssl.key.pem", "ssl.keystore.certificate.chain", "ssl.keystore.key") != "" {
		c.lack("the certificate: it and its key are in the settings themselves, save them as PEM files")
	}
	if p["ssl.key.password"] != "" && c.Spec.KeyFile != "" {
		c.lack("the key's own password: Freshet reads a key without one")
	}
	algorithm, set := p["ssl.endpoint.identification.algorithm"]
	if strings.EqualFold(p["enable.ssl.certificate.verification"], "false") || set && (algorithm == "" || strings.EqualFold(algorithm, "none")) {
		c.unchecked()
	}
}

// shown is a path fit for a sentence.
func (c *Connection) shown(v string) string {
	if placeholder.MatchString(v) {
		return "a file that is filled in"
	}
	return cut(strings.TrimSpace(v), 200)
}

func first(p map[string]string, keys ...string) string {
	for _, k := range keys {
		if p[k] != "" {
			return p[k]
		}
	}
	return ""
}

// jaas reads the options of the first login module: CLASS FLAG NAME="VALUE" …;
func (c *Connection) jaas(s string) map[string]string {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	if m := placeholder.FindString(s); m == s {
		c.value("the user and the password", s)
		return map[string]string{}
	}
	options := map[string]string{}
	for rest := s; rest != "" && rest[0] != ';'; {
		end := strings.IndexAny(rest, "= \t\r\n;")
		if end < 0 {
			break
		}
		word := rest[:end]
		rest = strings.TrimLeft(rest[end:], " \t\r\n")
		if !strings.HasPrefix(rest, "=") {
			continue
		}
		var v string
		v, rest = jaasValue(strings.TrimLeft(rest[1:], " \t\r\n"))
		options[word] = v
		rest = strings.TrimLeft(rest, " \t\r\n")
	}
	return options
}

func jaasValue(s string) (value, rest string) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		end := strings.IndexAny(s, " \t\r\n;")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
