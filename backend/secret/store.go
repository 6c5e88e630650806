package secret

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zalando/go-keyring"

	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

// service is what the keyring files our secrets under.
const service = "freshet"

// keyringWait is how long the keyring may take: it can ask a person for a password.
const keyringWait = 30 * time.Second

// Options says where a Store keeps secrets.
type Options struct {
	Log *slog.Logger
	// FileOnly leaves the system's keyring alone: for a data directory that is thrown away.
	FileOnly bool
	// KeyFile is the key of the encrypted file; "": secrets.key in the data directory.
	KeyFile string
	// Passphrase encrypts the key file; without it, the key file's mode is all that protects it.
	Passphrase Secret
}

// Store keeps secrets by name, for one data directory: in the system's keyring where there is one, else in the file
// secrets.age, encrypted to the key in secrets.key. It implements auditlog.Keys.
type Store struct {
	log     *slog.Logger
	scope   string // of this directory's names in the keyring; "" without a keyring
	file    vault
	mu      sync.Mutex
	keyring chan struct{} // holds a token while the keyring is asked: a call cannot be cancelled
}

// Open gives the secrets of a data directory, which must exist. It asks nobody for anything yet.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Log, keyring: make(chan struct{}, 1)}
	s.file = vault{path: filepath.Join(dir, "secrets.age"), keyPath: o.KeyFile, passphrase: o.Passphrase}
	if o.KeyFile == "" {
		s.file.keyPath = filepath.Join(dir, "secrets.key")
	}
	if o.FileOnly || !hasKeyring() {
		return s, nil
	}
	var err error
	s.scope, err = scope(filepath.Join(dir, "secrets.id"))
	return s, err
}

// hasKeyring reports whether asking for the keyring would find one to talk to. Elsewhere than on Linux there always is
// one; there, asking without a session bus would start a bus of its own, and leave it behind.
func hasKeyring() bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return true
	}
	if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" {
		return !strings.HasPrefix(bus, "autolaunch:")
	}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Getuid())} {
		if _, err := os.Stat(filepath.Join(dir, "bus")); dir != "" && err == nil {
			return true
		}
	}
	return false
}

// scope keeps the names of two data directories apart in the keyring that they share.
func scope(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	id := strings.ToLower(rand.Text()[:16])
	return id, fault.Wrap(fault.Unavailable, "write "+path, wholefile.Write(path, []byte(id+"\n"), 0o600), "check who owns the data directory")
}

// Where says in words where a new secret is kept, and whether that is the system's keyring.
func (s *Store) Where(ctx context.Context) (keyring bool, where string) {
	if s.usable(ctx) {
		return true, "the system's keyring"
	}
	where = "the encrypted file " + s.file.path + ", whose key is in " + s.file.keyPath
	if !s.file.passphrase.IsZero() {
		return false, where + ", under a passphrase"
	}
	return false, where + ", which only its owner can read"
}

// usable asks the keyring for nothing in particular.
func (s *Store) usable(ctx context.Context) bool {
	_, err := s.ask(ctx, func() (string, error) { return keyring.Get(service, s.scope+"/probe") })
	return err == nil || errors.Is(err, keyring.ErrNotFound)
}

var errNoKeyring = errors.New("this system has no keyring")

// ask calls the keyring and waits for keyringWait at most. A call that hangs keeps the next ones from being made.
func (s *Store) ask(ctx context.Context, call func() (string, error)) (string, error) {
	if s.scope == "" {
		return "", errNoKeyring
	}
	ctx, cancel := context.WithTimeout(ctx, keyringWait)
	defer cancel()
	select {
	case s.keyring <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := call()
		<-s.keyring
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Secret returns what is kept under name, "" for nothing.
func (s *Store) Secret(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.file.get(name)
	if text != "" || err != nil {
		return text, err
	}
	for _, user := range []string{s.scope + "/" + name, name} { // the second: put there by a person
		text, err := s.ask(ctx, func() (string, error) { return keyring.Get(service, user) })
		if err == nil && text != "" {
			return text, nil
		}
		if err != nil && !errors.Is(err, keyring.ErrNotFound) && !errors.Is(err, errNoKeyring) {
			return "", fault.Wrap(fault.Unavailable, "read "+keyringRef+name, err, "unlock the keyring")
		}
	}
	return "", nil
}

// Keep keeps a secret under name, in place of what was kept there.
func (s *Store) Keep(ctx context.Context, name, text string) error {
	op := "keep the secret " + name
	if name == "" || text == "" || len(text) > maxSecret {
		return fault.New(fault.Invalid, op, "", "a name and 1 to %d bytes are needed", maxSecret)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.ask(ctx, func() (string, error) { return "", keyring.Set(service, s.scope+"/"+name, text) })
	if err == nil {
		return s.file.remove(name)
	}
	if ctx.Err() != nil {
		return fault.Wrap(fault.Interrupted, op, ctx.Err(), "")
	}
	if !errors.Is(err, errNoKeyring) {
		s.log.Warn("the keyring does not take a secret; it goes to the encrypted file", "name", name, "err", err)
	}
	return s.file.put(name, text)
}

// Forget removes what is kept under name.
func (s *Store) Forget(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.ask(ctx, func() (string, error) { return "", keyring.Delete(service, s.scope+"/"+name) })
	if err != nil && !errors.Is(err, keyring.ErrNotFound) && !errors.Is(err, errNoKeyring) {
		return fault.Wrap(fault.Unavailable, "forget the secret "+name, err, "unlock the keyring")
	}
	return s.file.remove(name)
}
