package app

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// usualObjective is how fresh a path must be where nobody said, in seconds.
const usualObjective = 15

// keyringAsked bounds the wait for a keyring that may ask a person for its password.
const keyringAsked = 2 * time.Second

func (i instance) About(ctx context.Context) (api.About, error) {
	v := BuildVersion()
	days, bytes := i.history.Limits()
	out := api.About{
		Head: api.Head{V: 1, Kind: "instance"}, Version: v.Version, Commit: v.Commit, Started: api.Time(i.started), DataDir: i.o.DataDir,
		ConfigFile: i.settings.Load().File, URL: i.url, Listen: []string{i.listens.String()}, OnlyHere: onlyHere(i.listens), Profile: i.profile(),
		Person: asker(ctx), History: api.Kept{Days: days, Bytes: api.ID(bytes)}, Objectives: i.Objectives(), Owners: i.owners(),
	}
	asked, cancel := context.WithTimeout(ctx, keyringAsked)
	defer cancel()
	keyring, where := i.secrets.Where(asked)
	out.Secrets = api.SecretStore{Kind: "age_file", Where: where}
	if keyring {
		out.Secrets.Kind = "keyring"
	}
	var err error
	out.Disk, err = diskUse(ctx, i.o.DataDir)
	return out, err
}

func onlyHere(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func asker(ctx context.Context) api.Asker {
	p, _ := auth.From(ctx)
	out := api.Asker{ID: p.ID, Local: p.Local, Acts: []string{}}
	for _, act := range auth.Acts {
		if p.May(act) {
			out.Acts = append(out.Acts, string(act))
		}
	}
	return out
}

// settingsSource says where objectives and owners come from.
func (a *App) settingsSource() string {
	if a.settings.Load().File == "" {
		return "demo"
	}
	return "config"
}

func (i instance) Objectives() []api.Objective {
	var list []api.Objective
	for _, o := range i.settings.Load().Objectives {
		table, to := or(o.Table, "*"), or(o.To, "*")
		list = append(list, api.Objective{Name: table + " → " + to, Table: table, To: to, Seconds: o.Within.Seconds(), Source: i.settingsSource()})
	}
	return append(list, api.Objective{Name: "everything else", Table: "*", To: "*", Seconds: usualObjective, Source: "default"})
}

func (a *App) owners() []api.Owner {
	list := []api.Owner{}
	for _, o := range a.settings.Load().Owners {
		list = append(list, api.Owner{Name: o.Name, Of: o.Of, Source: a.settingsSource()})
	}
	return list
}

// diskParts are the parts of a data directory that are told apart, by the beginning of their names.
var diskParts = []struct{ part, holds string }{
	{"freshet.db", "definitions and settings"},
	{"ledger.db", "plans, jobs and the audit history"},
	{"history", "what probes saw, a file a day"},
	{"broker", "the local broker's records"},
	{"spill", "changes of transactions that are still running"},
	{"postgres", "the demo's database"},
	{"", "everything else: room kept for a full disk, keys, the demo's logs"},
}

// walkMost bounds the files that one look at the disk counts, over all parts.
const walkMost = 100_000

func diskUse(ctx context.Context, dir string) ([]api.DiskUse, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "look at "+dir, err, "see to the data directory")
	}
	uses := make([]diskSum, len(diskParts))
	left := walkMost
	for _, e := range entries {
		for i, p := range diskParts {
			if strings.HasPrefix(e.Name(), p.part) {
				uses[i].add(ctx, filepath.Join(dir, e.Name()), &left)
				break
			}
		}
	}
	var list []api.DiskUse
	for i, u := range uses {
		if u.files > 0 || u.why != "" {
			list = append(list, api.DiskUse{Part: or(diskParts[i].part, "other"), Holds: diskParts[i].holds, Bytes: api.FromReading(u.reading())})
		}
	}
	return list, nil
}

type diskSum struct {
	files int
	bytes int64
	why   string // the sum is too small
}

func (d *diskSum) add(ctx context.Context, path string, left *int) {
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case os.IsNotExist(err): // removed meanwhile
			return nil
		case err != nil:
			d.why = err.Error()
			return nil
		case e.IsDir():
			return nil
		case *left == 0:
			d.why = fmt.Sprintf("more than %d files: only the first are counted", walkMost)
			return fs.SkipAll
		}
		*left--
		if info, err := e.Info(); err == nil {
			d.files++
			d.bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		d.why = err.Error()
	}
}

func (d *diskSum) reading() stream.Reading {
	if d.why == "" {
		return stream.ExactReading(float64(d.bytes), "B", time.Now())
	}
	r := stream.BoundedReading(float64(d.bytes), float64(d.bytes), math.NaN(), "B", time.Now())
	r.Why = d.why
	return r
}
