// Package secret keeps passwords, tokens and keys where nobody reads them by accident: in the system's keyring, or in an
// encrypted file where there is none. Everything else holds references to them. Start with Secret, the value that prints
// as nothing, and Store, which keeps and resolves.
//
// It is an adapter; no engine imports it. A Store may be used from any goroutine.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// hidden is what is shown in place of a secret.
const hidden = "(secret)"

// Secret is a text that no log, error, JSON or format verb shows. Only Reveal gives it.
type Secret struct {
	// Behind a pointer: printing a struct that holds a Secret in an unexported field calls no method of it, and would
	// show a string.
	text *string
}

// New hides a text.
func New(text string) Secret { return Secret{&text} }

// Reveal gives the text, "" for the zero Secret. Call it where the text leaves for the system that it is for.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

func (s Secret) String() string { return hidden }

// Format writes the same for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText keeps the text out of JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue keeps the text out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
