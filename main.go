// Command freshet shows what data is doing between the database and the people who use it, and lets its owner put it
// right.
package main

//go:generate sh -c "go run . openapi > frontend/openapi.json"

import (
	"os"

	"freshet/app/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
