package api

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// About is the running instance: where it is, what it keeps, and who asks.
type About struct {
	Head
	Version    string      `json:"version"`
	Commit     string      `json:"commit"`
	Started    string      `json:"started" format:"date-time"`
	DataDir    string      `json:"data_dir"`
	ConfigFile string      `json:"config_file,omitempty"`
	URL        string      `json:"url"`
	Listen     []string    `json:"listen" nullable:"false"`
	OnlyHere   bool        `json:"only_this_machine" doc:"Nobody reaches it from elsewhere"`
	Profile    Profile     `json:"profile"`
	Person     Asker       `json:"person"`
	Secrets    SecretStore `json:"secrets"`
	History    Kept        `json:"history"`
	Disk       []DiskUse   `json:"disk" nullable:"false"`
	Objectives []Objective `json:"objectives" nullable:"false"`
	Owners     []Owner     `json:"owners" nullable:"false"`
}

// Asker is the person of the request.
type Asker struct {
	ID    string   `json:"id"`
	Local bool     `json:"local" doc:"The owner of the data directory, at this machine"`
	Acts  []string `json:"acts" nullable:"false" doc:"What they may do"`
}

// SecretStore is where a new secret is kept.
type SecretStore struct {
	Kind  string `json:"kind" enum:"keyring,age_file"`
	Where string `json:"where"`
}

// Kept bounds the history of readings: what goes beyond either goes, the oldest first.
type Kept struct {
	Days  int    `json:"days"`
	Bytes string `json:"bytes"`
}

// DiskUse is what one part of the data directory takes.
type DiskUse struct {
	Part  string  `json:"part"`
	Holds string  `json:"holds"`
	Bytes Reading `json:"bytes"`
}

// Objective is how fresh the paths that it names must be; the first that matches counts.
type Objective struct {
	Name    string  `json:"name"`
	Table   string  `json:"table" doc:"Pattern of SCHEMA.TABLE"`
	To      string  `json:"to" doc:"Pattern of sink:NAME or group:NAME"`
	Seconds float64 `json:"seconds"`
	Source  string  `json:"source" enum:"config,demo,default"`
}

// Owner says whose something is; the first that matches counts.
type Owner struct {
	Name   string   `json:"name"`
	Of     []string `json:"of" nullable:"false" doc:"Patterns of names, or of nodes of the map"`
	Source string   `json:"source" enum:"config,demo"`
}

// Instance tells of the program itself.
type Instance interface {
	Status(ctx context.Context) []Part
	Version() Version
	About(ctx context.Context) (About, error)
	Objectives() []Objective
	// Diagnostics writes a zip for a bug report, without secrets and without what records hold.
	Diagnostics(ctx context.Context, w io.Writer) error
}

func aboutRoutes(api huma.API, i Instance) {
	one(api, auth.Read, http.MethodGet, "/instance", "instance", "The running instance", func(ctx context.Context, _ *none) (About, error) {
		return i.About(ctx)
	})
	list(api, auth.Read, "/objectives", "objectives", "How fresh paths must be", "objectives", func(context.Context, *none) ([]Objective, error) {
		return i.Objectives(), nil
	})
	file(api, auth.Operate, "/diagnostics", "diagnostics", "What a bug report needs, as a zip, without secrets and record contents", "application/zip", "freshet-diagnostics-", ".zip", i.Diagnostics)
}
