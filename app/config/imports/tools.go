package imports

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"freshet/backend/fault"
)

// tree is YAML of which every scalar is the text that was written: 0123 and yes are passwords too.
type tree map[string]any

const (
	maxNodes = 200_000
	maxDepth = 40
)

var (
	errLarge = errors.New("it is too deep or too large once its aliases are followed")
	lineOf   = regexp.MustCompile(`line \d+`)
)

func fromYAML(base, op string, text []byte) ([]Connection, error) {
	var found []Connection
	left := maxNodes
	for d := yaml.NewDecoder(bytes.NewReader(text)); len(found) <= maxConnections; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// The parser's own words may quote the text.
			where := lineOf.FindString(err.Error())
			if where == "" {
				where = "one of its lines"
			}
			return nil, fault.New(fault.Invalid, op, "give YAML, or lines of KEY=VALUE", "%s cannot be read", where)
		}
		v, err := plain(&doc, 0, &left)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, op, err, "give the part that holds the connection")
		}
		if t, ok := v.(tree); ok {
			found = append(found, fromTree(base, t)...)
		}
	}
	return found, nil
}

// plain follows aliases and merges, within bounds.
func plain(n *yaml.Node, depth int, left *int) (any, error) {
	if *left--; *left < 0 || depth > maxDepth {
		return nil, errLarge
	}
	switch n.Kind {
	case yaml.AliasNode:
		return plain(n.Alias, depth+1, left)
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, nil
		}
		return n.Value, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			v, err := plain(c, depth+1, left)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		t, merged := tree{}, tree{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := plain(n.Content[i+1], depth+1, left)
			if err != nil {
				return nil, err
			}
			if n.Content[i].Tag == "!!merge" {
				for _, m := range append(items(v), v) {
					if more, ok := m.(tree); ok {
						maps.Copy(merged, more)
					}
				}
				continue
			}
			t[n.Content[i].Value] = v
		}
		maps.Copy(merged, t)
		return merged, nil
	}
	if len(n.Content) == 0 {
		return nil, nil
	}
	return plain(n.Content[0], depth+1, left) // a document
}

// same makes keys comparable: bootstrapServers, bootstrap-servers and BootstrapServers are one.
func same(key string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
}

// at goes down by keys, however they are written.
func at(v any, keys ...string) any {
	for _, key := range keys {
		t, _ := v.(tree)
		v = nil
		for _, k := range slices.Sorted(maps.Keys(t)) {
			if same(k) == key && t[k] != nil {
				v = t[k]
				break
			}
		}
	}
	return v
}

func text(v any, keys ...string) string {
	s, _ := at(v, keys...).(string)
	return s
}

func isTrue(v any, keys ...string) bool { return strings.EqualFold(text(v, keys...), "true") }

func items(v any) []any {
	list, _ := v.([]any)
	return list
}

// texts are a list's scalars, or one scalar that is no list.
func texts(v any, keys ...string) []string {
	v = at(v, keys...)
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var out []string
	for _, x := range items(v) {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// flat joins nested keys by dots, as Spring and Micronaut do.
func flat(v any, prefix string, into map[string]string) {
	switch v := v.(type) {
	case string:
		into[prefix] = v
	case tree:
		for k, x := range v {
			if prefix != "" {
				k = prefix + "." + k
			}
			flat(x, k, into)
		}
	}
}

// fromTree asks which tool wrote a document.
func fromTree(base string, t tree) (found []Connection) {
	add := func(c Connection) {
		if len(found) <= maxConnections {
			found = append(found, c)
		}
	}
	switch {
	case at(t, "profiles") != nil:
		for _, p := range items(at(t, "profiles")) {
			if at(p, "kafkaapi") != nil {
				add(ofRpk(text(p, "name"), p))
			}
		}
	case at(t, "rpk", "kafkaapi") != nil:
		add(ofRpk("", at(t, "rpk")))
	case at(t, "kafkaapi") != nil:
		add(ofRpk("", t))
	case at(t, "contexts") != nil:
		contexts, _ := at(t, "contexts").(tree)
		for _, name := range slices.Sorted(maps.Keys(contexts)) {
			add(ofKafkactl(name, contexts[name]))
		}
	case at(t, "akhq", "connections") != nil:
		connections, _ := at(t, "akhq", "connections").(tree)
		for _, name := range slices.Sorted(maps.Keys(connections)) {
			props := map[string]string{}
			flat(at(connections[name], "properties"), "", props)
			c := begin(akhq, name)
			c.properties(props)
			c.registry(at(connections[name], "schemaregistry") != nil)
			add(c)
		}
	case at(t, "kafka", "clusters") != nil:
		for _, cluster := range items(at(t, "kafka", "clusters")) {
			add(ofKafkaUI(cluster))
		}
	case at(t, "clusters") != nil:
		for _, cluster := range items(at(t, "clusters")) {
			if at(cluster, "brokers") != nil {
				add(ofKaf(cluster))
			}
		}
	default:
		props := map[string]string{}
		flat(t, "", props)
		if isConnection(props) {
			c := begin(javaClient, nameOf(base))
			c.properties(props)
			add(c)
		}
	}
	return found
}

func ofRpk(name string, p any) Connection {
	c := begin(rpk, name)
	k := at(p, "kafkaapi")
	c.brokers(texts(k, "brokers"), "9092")
	if tls, ok := at(k, "tls").(tree); ok { // empty is TLS with the system's authorities
		c.Spec.TLS = true
		ca := text(tls, "cafile")
		if ca == "" {
			ca = text(tls, "truststorefile")
		}
		c.Spec.CAFile = c.file("the authority", ca)
		c.certificate(text(tls, "certfile"), text(tls, "keyfile"))
		if isTrue(tls, "insecureskipverify") {
			c.unchecked()
		}
	}
	if sasl, ok := at(k, "sasl").(tree); ok && len(sasl) > 0 {
		mechanism := text(sasl, "mechanism")
		if mechanism == "" {
			mechanism = text(sasl, "type")
		}
		if mechanism == "" {
			c.lack("signing in: no mechanism is named")
		} else {
			c.sasl(mechanism, text(sasl, "user"), text(sasl, "password"))
		}
	}
	c.registry(len(texts(p, "schemaregistry", "addresses")) > 0)
	return c
}

func ofKaf(v any) Connection {
	c := begin(kaf, text(v, "name"))
	c.brokers(texts(v, "brokers"), "")
	protocol := strings.ToUpper(c.value("the security protocol", text(v, "securityprotocol")))
	tls, hasTLS := at(v, "tls").(tree)
	c.Spec.TLS = hasTLS || strings.HasSuffix(protocol, "SSL")
	if c.Spec.TLS {
		c.Spec.CAFile = c.file("the authority", text(tls, "cafile"))
		c.certificate(text(tls, "clientfile"), text(tls, "clientkeyfile"))
		if isTrue(tls, "insecure") {
			c.unchecked()
		}
	}
	if sasl, ok := at(v, "sasl").(tree); ok {
		mechanism := text(sasl, "mechanism")
		if mechanism == "" {
			mechanism = "PLAIN" // kaf's own default
		}
		c.sasl(mechanism, text(sasl, "username"), text(sasl, "password"))
	}
	c.registry(text(v, "schemaregistryurl") != "")
	return c
}

func ofKafkactl(name string, v any) Connection {
	c := begin(kafkactl, name)
	c.brokers(texts(v, "brokers"), "")
	if isTrue(v, "tls", "enabled") {
		c.Spec.TLS = true
		c.Spec.CAFile = c.file("the authority", text(v, "tls", "ca"))
		c.certificate(text(v, "tls", "cert"), text(v, "tls", "certkey"))
		if isTrue(v, "tls", "insecure") {
			c.unchecked()
		}
	}
	if isTrue(v, "sasl", "enabled") {
		mechanism := text(v, "sasl", "mechanism")
		if mechanism == "" {
			mechanism = "plaintext" // kafkactl's own default, its word for PLAIN
		}
		c.sasl(mechanism, text(v, "sasl", "username"), text(v, "sasl", "password"))
	}
	if isTrue(v, "kubernetes", "enabled") {
		c.lack("the way through Kubernetes: kafkactl runs in a pod there, Freshet must reach the brokers itself")
	}
	c.registry(text(v, "schemaregistry", "url") != "" || text(v, "avro", "schemaregistry") != "")
	return c
}

func ofKafkaUI(v any) Connection {
	c := begin(kafkaUI, text(v, "name"))
	props := map[string]string{}
	flat(at(v, "properties"), "", props)
	if s := strings.Join(texts(v, "bootstrapservers"), ","); s != "" {
		props["bootstrap.servers"] = s
	}
	if s := text(v, "ssl", "truststorelocation"); s != "" && props["ssl.truststore.location"] == "" {
		props["ssl.truststore.location"] = s
	}
	c.properties(props)
	if strings.EqualFold(text(v, "ssl", "verify"), "false") || strings.EqualFold(text(v, "ssl", "verifyssl"), "false") {
		c.unchecked()
	}
	c.registry(text(v, "schemaregistry") != "")
	return c
}
