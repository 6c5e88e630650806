package frontend

import (
	_ "embed"
	"encoding/json"
)

//go:embed commands.json
var commandsJSON []byte

// Command is one command of the page: its keys, the palette, the window's menus and the page of keys are made from the
// same list.
type Command struct {
	ID    string     `json:"id"`
	Words string     `json:"words"`
	Group string     `json:"group"`
	Keys  [][]string `json:"keys"`           // in the order they are pressed; several sequences may do the same
	Menu  string     `json:"menu,omitempty"` // the native menu that has it, "" for none
}

// Commands returns the commands in the order that they are shown.
func Commands() []Command {
	var list []Command
	if err := json.Unmarshal(commandsJSON, &list); err != nil {
		panic("commands.json: " + err.Error()) // it is built in
	}
	return list
}
