package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"freshet/backend/fault"
)

// Where a reference leads: an environment variable, a file, or the secret store under a name.
const (
	envRef     = "@env:"
	fileRef    = "@file:"
	keyringRef = "@keyring:"
)

// maxSecret bounds a secret, in bytes: a certificate's key with its chain fits.
const maxSecret = 64 << 10

// IsRef reports whether s is a reference and not a secret.
func IsRef(s string) bool {
	for _, prefix := range []string{envRef, fileRef, keyringRef} {
		if rest, ok := strings.CutPrefix(s, prefix); ok && rest != "" {
			return true
		}
	}
	return false
}

// Take returns a reference for what a person gave: a reference as it is, once it has been found to lead somewhere; a
// secret in the clear is kept under name first.
func (s *Store) Take(ctx context.Context, name, given string) (ref string, err error) {
	if IsRef(given) {
		_, err := s.Resolve(ctx, given)
		return given, err
	}
	if err := s.Keep(ctx, name, given); err != nil {
		return "", err
	}
	return keyringRef + name, nil
}

// Resolve gives what a reference leads to; fault.Invalid where it leads nowhere.
func (s *Store) Resolve(ctx context.Context, ref string) (Secret, error) {
	if name, ok := strings.CutPrefix(ref, envRef); ok {
		text, ok := os.LookupEnv(name)
		if !ok || text == "" {
			return Secret{}, missing(ref, "set the environment variable for the process that runs Freshet", nil)
		}
		return New(text), nil
	}
	if path, ok := strings.CutPrefix(ref, fileRef); ok {
		text, err := readBounded(path)
		if err != nil {
			return Secret{}, missing(ref, "check the file and who may read it", err)
		}
		return New(strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")), nil
	}
	if name, ok := strings.CutPrefix(ref, keyringRef); ok {
		text, err := s.Secret(ctx, name)
		if err != nil {
			return Secret{}, err
		}
		if text == "" {
			return Secret{}, missing(ref, "give the secret again", nil)
		}
		return New(text), nil
	}
	// ref may be a secret given in the wrong place: it is not repeated.
	return Secret{}, fault.New(fault.Invalid, "resolve a secret", "use @env:NAME, @file:PATH or @keyring:NAME", "not a reference")
}

func missing(ref, next string, err error) error {
	if err == nil {
		err = errors.New("it leads nowhere")
	}
	return &fault.Error{Kind: fault.Invalid, Op: "resolve " + ref, Code: "SECRET_MISSING", Err: err, Next: next}
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("more than %d bytes", maxSecret)
	}
	if err == nil && len(b) == 0 {
		err = errors.New("it is empty")
	}
	return string(b), err
}
