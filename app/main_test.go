package app

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"freshet/app/demo"
)

// TestMain is also what the demo starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "demo-child" {
		if err := demo.Child(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
