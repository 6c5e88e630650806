package postgres_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"freshet/backend/cdc/postgres"
	"freshet/backend/testkit"
)

// TestGulper reads what is written in pieces of all sizes in reads of all sizes, also after deadlines that have passed.
func TestGulper(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := mathrand.New(mathrand.NewPCG(seed, 1))
	want := make([]byte, 2<<20)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	written := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			written <- err
			return
		}
		defer conn.Close()
		r := mathrand.New(mathrand.NewPCG(seed, 2))
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN([]int{10, 300, 300, 100_000}[r.IntN(4)]))
			if _, err := conn.Write(rest[:n]); err != nil {
				written <- err
				return
			}
			rest = rest[n:]
		}
		written <- nil
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g := postgres.NewGulper(conn)
	var have []byte
	for p := make([]byte, 1<<20); ; {
		if r.IntN(20) == 0 {
			if err := g.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			n, err := g.Read(p)
			if have = append(have, p[:n]...); n == 0 && !os.IsTimeout(err) {
				t.Fatalf("%v, not a timeout", err)
			}
			if err := g.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		n, err := g.Read(p[:1+r.IntN(len(p))>>r.IntN(16)])
		have = append(have, p[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%d bytes, not the %d that were written", len(have), len(want))
	}
}

// TestTLS captures over an encrypted connection, in which the stream is read in small pieces.
func TestTLS(t *testing.T) {
	p := testkit.Postgres(t, 15, "fsync=off")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	root := p.Write("server.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	p.Write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	db := newDatabase(t, p)
	for _, sql := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()", "CREATE TABLE t(id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, 'before' FROM generate_series(1, 1000) i"} {
		db.exec(sql)
	}
	c := startCapture(t, db, func(o *postgres.Options) {
		o.DSN = strings.Replace(db.dsn, "sslmode=disable", "sslmode=verify-full&sslrootcert="+root, 1)
	})
	c.streaming()
	db.exec("INSERT INTO t SELECT i, repeat(md5(i::text), i % 100) FROM generate_series(1001, 20000) i")
	db.exec("UPDATE t SET v = 'after' WHERE id % 3 = 0")
	c.caughtUp()
	c.equal("public.t")
	if n := db.value("SELECT count(*)::text FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid) WHERE s.ssl"); n != "1" {
		t.Errorf("%s encrypted senders", n)
	}
}
