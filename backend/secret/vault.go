package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

// maxVault bounds the encrypted file's content.
const maxVault = 4 << 20

// vault is a file of secrets, encrypted with age to an identity of its own. The identity lies in the key file: as it is,
// or itself encrypted under a passphrase. For one goroutine at a time.
type vault struct {
	path       string
	keyPath    string
	passphrase Secret
	identity   *age.X25519Identity // once it was needed
}

func (v *vault) get(name string) (string, error) {
	all, err := v.read()
	return all[name], err
}

func (v *vault) put(name, text string) error {
	all, err := v.read()
	if err != nil {
		return err
	}
	if all == nil {
		all = map[string]string{}
	}
	all[name] = text
	return v.write(all)
}

func (v *vault) remove(name string) error {
	all, err := v.read()
	if err != nil || all[name] == "" {
		return err
	}
	delete(all, name)
	return v.write(all)
}

// read gives nil where there is no file.
func (v *vault) read() (map[string]string, error) {
	op := "read " + v.path
	sealed, err := os.ReadFile(v.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "check who owns the data directory")
	}
	id, err := v.unlock(false)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "put back the key file "+v.keyPath+" that belongs to it")
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxVault))
	if err != nil {
		return nil, fault.Wrap(fault.Tampered, op, err, "put back a copy of the file, or remove it and give the secrets again")
	}
	var all map[string]string
	if json.Unmarshal(plain, &all) != nil { // its error would quote what it read
		return nil, fault.New(fault.Tampered, op, "put back a copy of the file, or remove it and give the secrets again", "not a list of secrets")
	}
	return all, nil
}

func (v *vault) write(all map[string]string) error {
	op := "write " + v.path
	id, err := v.unlock(true)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(all)
	if err != nil {
		return fault.New(fault.Internal, op, "", "encode")
	}
	if len(plain) >= maxVault {
		return fault.New(fault.Invalid, op, "remove what is not needed", "more than %d bytes of secrets", maxVault)
	}
	sealed, err := seal(plain, id.Recipient())
	if err != nil {
		return fault.Wrap(fault.Internal, op, err, "")
	}
	return fault.Wrap(fault.Unavailable, op, wholefile.Write(v.path, sealed, 0o600), "check the data directory's disk and owner")
}

// unlock reads the identity; make makes one where there is no key file.
func (v *vault) unlock(make bool) (*age.X25519Identity, error) {
	if v.identity != nil {
		return v.identity, nil
	}
	op := "read the key file " + v.keyPath
	b, err := os.ReadFile(v.keyPath)
	if errors.Is(err, fs.ErrNotExist) && make {
		return v.makeKey()
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "put back the key file that belongs to "+v.path)
	}
	if bytes.HasPrefix(b, []byte("age-encryption.org/")) {
		if b, err = v.openKey(b); err != nil {
			return nil, fault.Wrap(fault.Invalid, op, err, "give the passphrase that it was made with")
		}
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fault.New(fault.Invalid, op, "put back the key file that belongs to "+v.path, "it holds no key")
	}
	v.identity = id
	return id, nil
}

func (v *vault) openKey(sealed []byte) ([]byte, error) {
	if v.passphrase.IsZero() {
		return nil, errors.New("it is locked with a passphrase")
	}
	id, err := age.NewScryptIdentity(v.passphrase.Reveal())
	if err != nil {
		return nil, errors.New("the passphrase cannot be used")
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		return nil, errors.New("the passphrase does not open it")
	}
	return io.ReadAll(io.LimitReader(r, 4<<10))
}

func (v *vault) makeKey() (*age.X25519Identity, error) {
	op := "make the key file " + v.keyPath
	if _, err := os.Stat(v.path); err == nil {
		return nil, fault.New(fault.Invalid, op, "put the key file back, or move the file aside and give the secrets again",
			"%s was encrypted to another", v.path)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, err, "")
	}
	b := []byte(id.String() + "\n")
	if !v.passphrase.IsZero() {
		r, err := age.NewScryptRecipient(v.passphrase.Reveal())
		if err != nil {
			return nil, fault.New(fault.Invalid, op, "choose another passphrase", "the passphrase cannot be used")
		}
		if b, err = seal(b, r); err != nil {
			return nil, fault.Wrap(fault.Internal, op, err, "")
		}
	}
	if err := wholefile.Write(v.keyPath, b, 0o600); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "check the disk and who owns the directory")
	}
	v.identity = id
	return id, nil
}

func seal(plain []byte, to age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
