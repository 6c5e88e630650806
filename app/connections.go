package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"freshet/app/config/imports"
	"freshet/backend/api"
	"freshet/backend/fault"
)

// imported are the connections that other tools have. Their files are read when somebody asks, and not before.
type imported struct{ *App }

func importPlaces() []imports.Place {
	home, _ := os.UserHomeDir() // without one, what is elsewhere is still looked at
	return imports.Places(home, os.Getenv)
}

func (imported) Found(context.Context) ([]api.ConnectionFile, error) {
	var files []api.ConnectionFile
	for _, p := range importPlaces() {
		f := api.ConnectionFile{Tool: p.Tool, File: p.File, Found: true, Connections: []api.Connection{}}
		found, err := imports.Open(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.Found = false
		case err != nil:
			e := api.FromError(err)
			f.Trouble, f.Next = e.Message, e.Hint
		}
		for _, c := range found {
			x := connection(c)
			if x.Spec.Password = ""; x.HasPassword {
				x.Spec.PasswordFrom = passwordFrom(p, c.Spec.Name)
			}
			f.Connections = append(f.Connections, x)
		}
		files = append(files, f)
	}
	return files, nil
}

func (imported) Read(_ context.Context, text api.ConnectionText) ([]api.Connection, error) {
	found, err := imports.Read(text.Name, []byte(text.Text))
	out := make([]api.Connection, len(found))
	for i, c := range found {
		out[i] = connection(c)
	}
	return out, err
}

func connection(c imports.Connection) api.Connection {
	return api.Connection{Tool: c.Tool, Spec: c.Spec, HasPassword: c.Spec.Password != "", Lacks: c.Lacks}
}

func passwordFrom(p imports.Place, name string) string { return "import:" + p.File + "#" + name }

// takePassword puts the password in that PasswordFrom names. Only a well-known file is read, and its password goes only to
// where the file itself would send it: whoever may add a cluster must not learn it by naming a broker of their own.
func takePassword(spec *api.ClusterSpec) error {
	from := spec.PasswordFrom
	if from == "" {
		return nil
	}
	const op, next = "take the password over", "type the password"
	if spec.Password != "" {
		return fault.New(fault.Invalid, op, "give one of them", "password and password_from are both given")
	}
	for _, p := range importPlaces() {
		if !strings.HasPrefix(from, passwordFrom(p, "")) {
			continue
		}
		found, err := imports.Open(p)
		if err != nil {
			return err
		}
		for _, c := range found {
			if passwordFrom(p, c.Spec.Name) != from || c.Spec.Password == "" {
				continue
			}
			elsewhere := slices.ContainsFunc(spec.Brokers, func(b string) bool { return !slices.Contains(c.Spec.Brokers, b) })
			if elsewhere || spec.User != c.Spec.User || c.Spec.TLS && !spec.TLS || !strings.EqualFold(spec.SASL, c.Spec.SASL) {
				return fault.New(fault.Denied, op, next+", or leave brokers, TLS, mechanism and user as the file has them", "the password in %s is for its own brokers and user only", p.File)
			}
			spec.Password, spec.PasswordFrom = c.Spec.Password, ""
			return nil
		}
		return fault.New(fault.NotFound, op, next, "%s no longer has this password", p.File)
	}
	return fault.New(fault.Invalid, op, next, "password_from names no file that Freshet looks into")
}
