package frontend

import (
	_ "embed"
	"encoding/json"
)

//go:embed commands.json
var commands []byte

// Command is one thing that the page does: its keys, its palette and the window's menus read the same list.
type Command struct {
	ID    string     `json:"id"`
	Words string     `json:"words"`
	Group string     `json:"group"`
	Keys  [][]string `json:"keys"`
	Menu  string     `json:"menu"` // "" is in no menu
}

// Commands are all there are, in the order that people see them in.
func Commands() []Command {
	var all []Command
	if err := json.Unmarshal(commands, &all); err != nil {
		panic(err) // it is part of the program
	}
	return all
}
