package auditlog

import "context"

// Keys keeps the signing key. backend/secret implements it.
type Keys interface {
	// Secret returns what Keep was given under name, "" where it holds nothing.
	Secret(ctx context.Context, name string) (string, error)
	Keep(ctx context.Context, name, value string) error
}
