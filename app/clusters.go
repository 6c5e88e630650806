package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
)

// embeddedCluster is the name of the local broker's cluster.
const embeddedCluster = "embedded"

// clusterDoc is a cluster as it is kept: the password is a reference.
type clusterDoc struct {
	Spec  api.ClusterSpec `json:"spec"`
	Until time.Time       `json:"unlocked_until,omitzero"`
	Acts  []string        `json:"unlocked_acts,omitempty"`
}

// clusters are the Kafka clusters as the API has them.
type clusters struct{ *App }

// cluster finds a cluster; "" is the local broker, or the only one.
func (a *App) cluster(name string) (*kafka.Cluster, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "" {
		name = embeddedCluster
		if _, ok := a.kafka[name]; !ok && len(a.kafka) == 1 {
			for name = range a.kafka {
			}
		}
	}
	c, ok := a.kafka[name]
	if !ok {
		return nil, fault.New(fault.NotFound, "find cluster "+name, "see `freshet clusters list`", "there is no such cluster")
	}
	return c, nil
}

// clusterNames are the clusters' names, the local broker's first.
func (a *App) clusterNames() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, 0, len(a.kafka))
	for n := range a.kafka {
		names = append(names, n)
	}
	slices.SortFunc(names, func(x, y string) int {
		switch {
		case x == y:
			return 0
		case x == embeddedCluster:
			return -1
		case y == embeddedCluster:
			return 1
		}
		return compare(x, y)
	})
	return names
}

// openClusters opens what was added before, each with the lock it had.
func (a *App) openClusters(ctx context.Context) error {
	docs, err := a.clusterDocs.List(ctx)
	if err != nil {
		return err
	}
	for _, d := range docs {
		c, err := a.openCluster(ctx, d.Value.Spec)
		if err != nil {
			a.log.Error("a cluster cannot be opened", "cluster", d.Name, "err", err)
			continue
		}
		if acts, err := kafka.ParseActs(d.Value.Acts); err == nil && time.Now().Before(d.Value.Until) {
			c.Gate().Unlock(d.Value.Until, acts...)
		}
		a.addCluster(c)
	}
	return nil
}

func (a *App) addCluster(c *kafka.Cluster) {
	a.mu.Lock()
	a.kafka[c.Name()] = c
	a.mu.Unlock()
}

func (a *App) openCluster(ctx context.Context, spec api.ClusterSpec) (*kafka.Cluster, error) {
	o := kafka.Options{Name: spec.Name, Brokers: spec.Brokers, Version: version, Log: a.log}
	if spec.TLS || spec.CAFile != "" || spec.CertFile != "" {
		config, err := tlsConfig(spec)
		if err != nil {
			return nil, err
		}
		o.TLS = config
	}
	if spec.SASL != "" {
		if o.TLS == nil && strings.EqualFold(spec.SASL, "plain") && !loopback(spec.Brokers) {
			return nil, fault.New(fault.Invalid, "open cluster "+spec.Name, "give --tls, or use SCRAM", "SASL PLAIN without TLS would send the password in the clear")
		}
		password, err := a.given(ctx, spec.Password)
		if err != nil {
			return nil, err
		}
		o.SASL = &kafka.SASL{Mechanism: strings.ToUpper(spec.SASL), User: spec.User, Password: password}
	}
	return kafka.Open(o)
}

func loopback(brokers []string) bool {
	for _, b := range brokers {
		host, _, _ := net.SplitHostPort(b)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func tlsConfig(spec api.ClusterSpec) (*tls.Config, error) {
	op := "open cluster " + spec.Name
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if spec.CAFile != "" {
		pem, err := os.ReadFile(spec.CAFile)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, op, err, "give --tls-ca a file that can be read")
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Invalid, op, "give --tls-ca certificates in PEM", "%s holds no certificate", spec.CAFile)
		}
	}
	if spec.CertFile != "" || spec.KeyFile != "" {
		if spec.CertFile == "" || spec.KeyFile == "" {
			return nil, fault.New(fault.Invalid, op, "give --tls-cert and --tls-key together", "one of them is missing")
		}
		// The files are read again at every handshake, so that a renewed certificate is used without a restart.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(spec.CertFile, spec.KeyFile)
			return &cert, err
		}
		if _, err := tls.LoadX509KeyPair(spec.CertFile, spec.KeyFile); err != nil {
			return nil, fault.Wrap(fault.Invalid, op, err, "give --tls-cert and --tls-key a pair in PEM")
		}
	}
	return config, nil
}

func (c clusters) List(context.Context) ([]api.Cluster, error) {
	var list []api.Cluster
	for _, name := range c.clusterNames() {
		k, err := c.cluster(name)
		if err != nil {
			continue
		}
		item := api.Cluster{Name: name, Type: "kafka", Brokers: k.Brokers(), State: "unknown"}
		if name == embeddedCluster {
			item.Type = "embedded"
		}
		gate := k.Gate().State()
		item.ReadOnly, item.Until = gate.Locked, api.Time(gate.Until)
		if !gate.Locked && !gate.Until.IsZero() {
			for _, act := range gate.Acts {
				item.Acts = append(item.Acts, string(act))
			}
		}
		item.State, item.Detail = c.clusterState(name)
		list = append(list, item)
	}
	return list, nil
}

func (c clusters) Add(ctx context.Context, spec api.ClusterSpec) (api.Receipt, error) {
	if spec.Name == embeddedCluster {
		return api.Receipt{}, fault.New(fault.Exists, "add cluster", "choose another name", "%s is the local broker", embeddedCluster)
	}
	if err := takePassword(&spec); err != nil {
		return api.Receipt{}, err
	}
	password, err := c.hide(ctx, "cluster/"+spec.Name, spec.Password)
	if err != nil {
		return api.Receipt{}, err
	}
	spec.Password = password
	k, err := c.openCluster(ctx, spec)
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := c.receipt(ctx, "cluster.add", spec.Name, map[string]any{"brokers": spec.Brokers, "tls": spec.TLS, "sasl": spec.SASL, "user": spec.User}, func(ctx context.Context) error {
		return c.clusterDocs.Create(ctx, spec.Name, clusterDoc{Spec: spec})
	})
	if err != nil {
		k.Close()
		return api.Receipt{}, err
	}
	c.addCluster(k)
	c.probeCluster(k)
	receipt.State = "read-only"
	return receipt, nil
}

func (c clusters) Test(ctx context.Context, name string) ([]api.Stage, error) {
	k, err := c.cluster(name)
	if err != nil {
		return nil, err
	}
	return clusterStages(k.Test(ctx)), nil
}

func (c clusters) Unlock(ctx context.Context, name string, spec api.UnlockSpec) (api.Receipt, error) {
	k, err := c.cluster(name)
	if err != nil {
		return api.Receipt{}, err
	}
	if name == embeddedCluster {
		return api.Receipt{}, fault.New(fault.Invalid, "unlock "+name, "", "the local broker is never locked")
	}
	acts, err := kafka.ParseActs(spec.Acts)
	if err != nil {
		return api.Receipt{}, err
	}
	until := time.Now().Add(time.Duration(spec.ForSeconds) * time.Second).UTC()
	receipt, err := c.receipt(ctx, "cluster.unlock", name, map[string]any{"until": until.Format(stream.TimeFormat), "acts": spec.Acts}, func(ctx context.Context) error {
		if err := c.keepLock(ctx, name, until, spec.Acts); err != nil {
			return err
		}
		k.Gate().Unlock(until, acts...)
		return nil
	})
	receipt.State = "open until " + api.Time(until)
	return receipt, err
}

func (c clusters) Lock(ctx context.Context, name string) (api.Receipt, error) {
	k, err := c.cluster(name)
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := c.receipt(ctx, "cluster.lock", name, nil, func(ctx context.Context) error {
		k.Gate().Lock()
		return c.keepLock(ctx, name, time.Time{}, nil)
	})
	receipt.State = "read-only"
	return receipt, err
}

func (c clusters) keepLock(ctx context.Context, name string, until time.Time, acts []string) error {
	d, err := c.clusterDocs.Get(ctx, name)
	if err != nil {
		return err
	}
	d.Value.Until, d.Value.Acts = until, acts
	return c.clusterDocs.Put(ctx, name, d.Value)
}

func (c clusters) Remove(ctx context.Context, name string) (api.Receipt, error) {
	if name == embeddedCluster {
		return api.Receipt{}, fault.New(fault.Invalid, "remove "+name, "", "the local broker stays")
	}
	k, err := c.cluster(name)
	if err != nil {
		return api.Receipt{}, err
	}
	for _, o := range c.cdc.Options() {
		if o.Cluster == name {
			return api.Receipt{}, fault.New(fault.Conflict, "remove cluster "+name, "drop the source first", "the source %s writes to it", o.Name)
		}
	}
	return c.receipt(ctx, "cluster.remove", name, nil, func(ctx context.Context) error {
		if err := c.clusterDocs.Delete(ctx, name); err != nil {
			return err
		}
		c.unprobeCluster(name)
		c.mu.Lock()
		delete(c.kafka, name)
		c.mu.Unlock()
		k.Close()
		return nil
	})
}
