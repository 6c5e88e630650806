package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"freshet/backend/fault"
)

const (
	oldestMajor   = 14
	fetchedMajor  = 18
	fetchedBuild  = embeddedpostgres.PostgresVersion("18.3.0")
	archivePrefix = "embedded-postgres-binaries-"
)

// archiveSums are the SHA-256 sums of the archives that fetchBinaries accepts, by platform.
var archiveSums = map[string]string{
	"linux-amd64":        "e09b13df10e9df257275d498b19b8c214a3e86d7a5d8cd263b0860e308e8b0b6",
	"linux-amd64-alpine": "5e47f96951026dc460b876fa62379f7c7666eb6293d076900e2c71703e5a1de6",
	"linux-arm64v8":      "f9695b61cff9e5c9b8e02a938158740a711c7a55304dd49ca634c8b947bf6b27",
	"darwin-amd64":       "2c5f22fa675ee78264a2ea8c7543310c32590465a4f72fb4287ca65ec484f7dd",
	"darwin-arm64v8":     "61f9b7026404f15abd4ec7e5724f672795c08cecc58ece212f85da3bf4de2b91",
}

// binaries is an installed PostgreSQL.
type binaries struct {
	dir     string // holds initdb and postgres
	major   int
	version string // as postgres --version says
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// installedBinaries returns every PostgreSQL that the machine has, newest first by the place it stands in.
func installedBinaries(ctx context.Context) []binaries {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		dirs = append(dirs, found...)
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(initdb); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	var all []binaries
	for _, dir := range dirs {
		if b, err := inspectBinaries(ctx, dir); err == nil {
			all = append(all, b)
		}
	}
	return all
}

func inspectBinaries(ctx context.Context, dir string) (binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, err
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("%s is no PostgreSQL", dir)
	}
	major, err := strconv.Atoi(string(m[1]))
	return binaries{dir, major, string(out[:len(out)-1])}, err
}

// findBinaries returns the PostgreSQL to run: for a data directory of version major the machine's of that version, for a
// new one (major 0) the machine's newest; where the machine has none, a pinned build is fetched once into the user's
// cache.
func findBinaries(ctx context.Context, installed []binaries, major int, log *slog.Logger) (binaries, error) {
	var best binaries
	for _, b := range installed {
		if b.major >= oldestMajor && b.major > best.major && (major == 0 || b.major == major) {
			best = b
		}
	}
	if best.major != 0 {
		return best, nil
	}
	if err := ctx.Err(); err != nil { // those that are there could not be asked
		return binaries{}, fault.Wrap(fault.Interrupted, "look for PostgreSQL", err, "start the demo again")
	}
	if major != 0 && major != fetchedMajor {
		return binaries{}, fault.New(fault.Blocked, "start the demo's PostgreSQL",
			fmt.Sprintf("install PostgreSQL %d, or start the demo afresh with --reset", major),
			"its data is of PostgreSQL %d, which this machine no longer has", major)
	}
	return fetchBinaries(ctx, log)
}

// binaryCache is where fetched builds are kept: the user's cache, and for root one that an unprivileged user can enter.
func binaryCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/freshet", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "freshet"), err
}

func fetchBinaries(ctx context.Context, log *slog.Logger) (binaries, error) {
	op := fmt.Sprintf("fetch PostgreSQL %s for the demo", fetchedBuild)
	const next = "install PostgreSQL (Debian: apt-get install postgresql), or try again with a connection"
	cache, err := binaryCache()
	if err != nil {
		return binaries{}, fault.Wrap(fault.Unavailable, op, err, next)
	}
	place := filepath.Join(cache, "postgresql-"+string(fetchedBuild))
	if b, err := inspectBinaries(ctx, filepath.Join(place, "bin")); err == nil {
		return b, nil
	}
	log.Info("this machine has no PostgreSQL: fetching one, 15 MB, once", "version", fetchedBuild, "to", place)
	fetched := make(chan error, 1)
	go func() { fetched <- fetchInto(cache, place, op, next) }()
	select {
	case err = <-fetched:
	case <-ctx.Done(): // the library cannot be interrupted: what it does goes on until it or the program ends
		return binaries{}, fault.Wrap(fault.Interrupted, op, ctx.Err(), next)
	}
	if err != nil {
		return binaries{}, err
	}
	b, err := inspectBinaries(ctx, filepath.Join(place, "bin"))
	return b, fault.Wrap(fault.Unavailable, op, err, "the fetched build does not run here: install PostgreSQL")
}

// fetchInto fetches, verifies and unpacks the pinned build, and only then puts it in its place.
func fetchInto(cache, place, op, next string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	temp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	defer os.RemoveAll(temp)
	tree := filepath.Join(temp, "tree")
	// The library has no way to fetch alone: Start fetches and unpacks, then clears the data directory. One whose name
	// ends in a dot cannot be removed, which ends it there, before any of what was fetched is run.
	fetchErr := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(fetchedBuild).Port(0).Logger(io.Discard).
		CachePath(temp).BinariesPath(tree).RuntimePath(filepath.Join(temp, "run")).DataPath(filepath.Join(temp, "run") + "/.")).Start()
	archives, _ := filepath.Glob(filepath.Join(temp, archivePrefix+"*.txz"))
	if len(archives) != 1 {
		return fault.Wrap(fault.Unavailable, op, fetchErr, next)
	}
	if err := verifyArchive(archives[0]); err != nil {
		return fault.Wrap(fault.Tampered, op, err, "nothing of it was run; "+next)
	}
	// Unpacking gave every folder the mode of our umask; an unprivileged user must get in.
	if err := os.Chmod(tree, 0o755); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	if err := os.RemoveAll(place); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	return fault.Wrap(fault.Unavailable, op, os.Rename(tree, place), next)
}

// verifyArchive compares an archive with the sum pinned for its platform, which its name tells.
func verifyArchive(path string) error {
	name := filepath.Base(path)
	platform := name[len(archivePrefix) : len(name)-len("-"+string(fetchedBuild)+".txz")]
	want, ok := archiveSums[platform]
	if !ok {
		return fmt.Errorf("no sum is pinned for %s", platform)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != want {
		return fmt.Errorf("the sum of %s is %s, not %s", name, got, want)
	}
	return nil
}
