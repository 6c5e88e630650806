// Package config reads the YAML of `freshet serve --config`.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"gopkg.in/yaml.v3"

	"freshet/backend/api"
	"freshet/backend/fault"
)

// Config is what a team keeps in a file. What it names is made at the start where it is missing; what is there already
// is left as it is.
type Config struct {
	File       string       `yaml:"-"` // that it was read from, "" none
	Profile    Profile      `yaml:"profile"`
	Clusters   []Cluster    `yaml:"clusters"`
	Sources    []Source     `yaml:"sources"`
	Sinks      []Sink       `yaml:"sinks"`
	Objectives []Objective  `yaml:"objectives"`
	Owners     []Owner      `yaml:"owners"`
	History    HistoryLimit `yaml:"history"`
}

// Profile is what kind of place this is: local, staging or production.
type Profile struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"`
}

// Cluster is a Kafka cluster.
type Cluster struct {
	Name     string   `yaml:"name"`
	Brokers  []string `yaml:"brokers"`
	TLS      bool     `yaml:"tls"`
	CAFile   string   `yaml:"tls_ca"`
	CertFile string   `yaml:"tls_cert"`
	KeyFile  string   `yaml:"tls_key"`
	SASL     string   `yaml:"sasl"`
	User     string   `yaml:"user"`
	Password string   `yaml:"password"`
}

// Spec is the cluster as the API takes it.
func (c Cluster) Spec() api.ClusterSpec {
	return api.ClusterSpec{Name: c.Name, Brokers: c.Brokers, TLS: c.TLS, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, SASL: c.SASL, User: c.User, Password: c.Password}
}

// Source is a capture. In a file the database's owner has said yes by writing it down.
type Source struct {
	Name       string   `yaml:"name"`
	Type       string   `yaml:"type"`
	DSN        string   `yaml:"dsn"`
	Tables     []string `yaml:"tables"`
	Prefix     string   `yaml:"prefix"`
	Cluster    string   `yaml:"cluster"`
	NoSnapshot bool     `yaml:"no_snapshot"`
	Outbox     string   `yaml:"outbox"`
	// Properties are Debezium's options by their names.
	Properties map[string]string `yaml:"properties"`
}

// Spec is the source as the API takes it.
func (s Source) Spec() api.SourceSpec {
	return api.SourceSpec{Name: s.Name, Type: s.Type, DSN: s.DSN, Tables: s.Tables, Prefix: s.Prefix, Cluster: s.Cluster, NoSnapshot: s.NoSnapshot, Outbox: s.Outbox, Properties: s.Properties}
}

// Sink is a sink.
type Sink struct {
	Name           string   `yaml:"name"`
	Type           string   `yaml:"type"`
	DSN            string   `yaml:"dsn"`
	Brokers        []string `yaml:"brokers"`
	URL            string   `yaml:"url"`
	Secret         string   `yaml:"secret"`
	Topics         []string `yaml:"topics"`
	From           string   `yaml:"from"`
	Cluster        string   `yaml:"cluster"`
	Mode           string   `yaml:"mode"`
	NoCreateTables bool     `yaml:"no_create_tables"`
}

// Spec is the sink as the API takes it.
func (s Sink) Spec() api.SinkSpec {
	return api.SinkSpec{Name: s.Name, Type: s.Type, DSN: s.DSN, Brokers: s.Brokers, URL: s.URL, Secret: s.Secret, Topics: s.Topics, From: s.From, Cluster: s.Cluster, Mode: s.Mode, NoCreateTables: s.NoCreateTables}
}

// Objective is how fresh a path must be. Table and To may hold *.
type Objective struct {
	Table  string        `yaml:"table"` // SCHEMA.TABLE
	To     string        `yaml:"to"`    // sink:NAME or group:NAME
	Within time.Duration `yaml:"within"`
}

// Owner says whose something is. Of holds patterns of names, such as shop.public.*, or of nodes of the map, such as
// topic:shop.public.*, group:analytics, sink:warehouse. The first owner that matches counts.
type Owner struct {
	Name string   `yaml:"name"`
	Of   []string `yaml:"of"`
}

// HistoryLimit bounds the history of readings on disk.
type HistoryLimit struct {
	Days  int   `yaml:"days"`
	Bytes int64 `yaml:"bytes"`
}

// Load reads and checks a file. Unknown names are refused with their line.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "read --config", err, "give a file that can be read")
	}
	c := &Config{File: file}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fault.Wrap(fault.Invalid, "read "+file, err, "mend the line it names")
	}
	if err := c.check(); err != nil {
		return nil, fault.Wrap(fault.Invalid, "read "+file, err, "mend what it names")
	}
	return c, nil
}

func (c *Config) check() error {
	switch c.Profile.Kind {
	case "", "local", "staging", "production":
	default:
		return fmt.Errorf("profile.kind %q is none of local, staging, production", c.Profile.Kind)
	}
	seen := map[string]bool{}
	name := func(kind, n string) error {
		if n == "" {
			return fmt.Errorf("one of %s has no name", kind)
		}
		if seen[kind+n] {
			return fmt.Errorf("%s names %s twice", kind, n)
		}
		seen[kind+n] = true
		return nil
	}
	for _, x := range c.Clusters {
		if err := name("clusters", x.Name); err != nil {
			return err
		}
		if len(x.Brokers) == 0 {
			return fmt.Errorf("cluster %s has no brokers", x.Name)
		}
	}
	for _, x := range c.Sources {
		if err := name("sources", x.Name); err != nil {
			return err
		}
		if x.DSN == "" {
			return fmt.Errorf("source %s has no dsn", x.Name)
		}
	}
	for _, x := range c.Sinks {
		if err := name("sinks", x.Name); err != nil {
			return err
		}
	}
	for i, o := range c.Objectives {
		if o.Within <= 0 {
			return fmt.Errorf("objective %d has no time within which data must arrive", i+1)
		}
		if err := patterns(o.Table, o.To); err != nil {
			return fmt.Errorf("objective %d: %w", i+1, err)
		}
	}
	for _, o := range c.Owners {
		if err := name("owners", o.Name); err != nil {
			return err
		}
		if len(o.Of) == 0 {
			return fmt.Errorf("owner %s owns nothing", o.Name)
		}
		if err := patterns(o.Of...); err != nil {
			return fmt.Errorf("owner %s: %w", o.Name, err)
		}
	}
	return nil
}

func patterns(list ...string) error {
	for _, p := range list {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("the pattern %q cannot be read", p)
		}
	}
	return nil
}
