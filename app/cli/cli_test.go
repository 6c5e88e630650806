package cli

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// beTheProgram makes the test binary run as freshet: for the demo's children and for processes that are killed.
const beTheProgram = "FRESHET_TEST_BE_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"freshet": func() { os.Exit(Main(os.Args[1:])) }})
}

// Scripts run the program as a person would. UPDATE=1 writes what it says into them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE") == "1", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FRESHET_DATA", env.WorkDir+"/data")
			env.Setenv("NO_COLOR", "1")
			return nil
		},
	})
}
