//go:build desktop || dev || bindings

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/wailsapp/wails/v2"
	"github.com/wailsapp/wails/v2/pkg/menu"
	"github.com/wailsapp/wails/v2/pkg/menu/keys"
	"github.com/wailsapp/wails/v2/pkg/options"
	"github.com/wailsapp/wails/v2/pkg/options/assetserver"
	"github.com/wailsapp/wails/v2/pkg/options/linux"
	"github.com/wailsapp/wails/v2/pkg/runtime"

	"freshet/backend/fault"
	"freshet/frontend"
)

// Window opens the desktop window on a data directory, at hash: on its own instance, or on the one that runs there
// already. A directory has one window: where it is open, that one comes to the front. Nothing else is opened before the
// window's own start-up.
func Window(ctx context.Context, dataDir, hash string, log *slog.Logger) error {
	if handOn(dataDir, hash) {
		log.Info("the window is open already: it has come to the front")
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	withoutGL()
	n := &native{up: make(chan struct{})}
	w := newWindow(dataDir, hash, log, desk{save: n.save, copy: n.copy, show: n.show})
	last, known := lastPlace(dataDir)
	icon, _ := fs.ReadFile(frontend.FS(), "icon.png") // a build without the page has none
	err := wails.Run(&options.App{
		Title: "Freshet", Width: last.Width, Height: last.Height, MinWidth: minWidth, MinHeight: minHeight,
		AssetServer: &assetserver.Options{Middleware: w.middleware},
		Menu:        n.menu(frontend.Commands()),
		OnStartup: func(own context.Context) {
			n.own = own
			close(n.up)
			if known {
				n.move(last)
			}
			if n.notifies(log) {
				w.desk.notify = n.notify
			}
			w.start(ctx)
		},
		OnBeforeClose: func(context.Context) bool {
			if p, ok := n.place(last); ok {
				if err := p.keep(dataDir); err != nil {
					log.Warn("where the window stood is not kept", "err", err)
				}
			}
			return false
		},
		OnShutdown: func(own context.Context) {
			cancel()
			w.stop()
			runtime.CleanupNotifications(own)
		},
		Linux: &linux.Options{WebviewGpuPolicy: linux.WebviewGpuPolicyNever, ProgramName: "freshet", Icon: icon},
	})
	return errors.Join(fault.Wrap(fault.Unavailable, "open the window", err, "is there a display? `freshet serve` and a browser do without"), w.err)
}

// native is what the framework does for the window.
type native struct {
	up      chan struct{} // closed once own is set
	own     context.Context
	notices atomic.Int64
}

func (n *native) save(name string) (string, error) {
	return runtime.SaveFileDialog(n.own, runtime.SaveDialogOptions{Title: "Save", DefaultFilename: name, CanCreateDirectories: true})
}

func (n *native) copy(text string) error { return runtime.ClipboardSetText(n.own, text) }

// notifies tells whether there is a bus to notify over.
func (n *native) notifies(log *slog.Logger) bool {
	err := runtime.InitializeNotifications(n.own)
	if err != nil {
		log.Info("this desktop takes no notifications", "err", err)
	}
	return err == nil && runtime.IsNotificationAvailable(n.own)
}

func (n *native) notify(title, body string) error {
	return runtime.SendNotification(n.own, runtime.NotificationOptions{ID: fmt.Sprintf("freshet-%d", n.notices.Add(1)), Title: title, Body: body})
}

func (n *native) show(hash string) {
	<-n.up
	runtime.WindowShow(n.own)
	runtime.WindowUnminimise(n.own) // which raises it, too
	if hash != "" {
		n.run("location.hash = %s", hash)
	}
}

// run runs a piece of script, with a text in the place of its %s.
func (n *native) run(script, text string) {
	b, err := json.Marshal(text)
	if err != nil {
		return // a string has no reason to fail
	}
	runtime.WindowExecJS(n.own, fmt.Sprintf(script, b))
}

// move puts the window where it stood, as far as that is on the screen it is on now; one that has grown too large for
// the screen is maximised.
func (n *native) move(p place) {
	screens, err := runtime.ScreenGetAll(n.own)
	if err != nil {
		return
	}
	for _, s := range screens {
		if !s.IsCurrent {
			continue
		}
		size, corner := p.on(s.Size.Width, s.Size.Height)
		switch {
		case p.Maximised || !size:
			runtime.WindowMaximise(n.own)
		case corner:
			runtime.WindowSetPosition(n.own, p.X, p.Y)
		}
	}
}

// place is where the window stands. Of a maximised one the place before stays; a minimised one or one on the full screen
// tells nothing.
func (n *native) place(last place) (place, bool) {
	switch {
	case runtime.WindowIsMaximised(n.own):
		last.Maximised = true
		return last, true
	case !runtime.WindowIsNormal(n.own):
		return place{}, false
	}
	var p place
	p.Width, p.Height = runtime.WindowGetSize(n.own)
	p.X, p.Y = runtime.WindowGetPosition(n.own)
	return p, true
}

// menu has the page's commands between what every window has. Their keys are the page's own, which knows when a person
// types: an accelerator would take them from it.
func (n *native) menu(commands []frontend.Command) *menu.Menu {
	act := func(f func(context.Context)) menu.Callback {
		return func(*menu.CallbackData) {
			<-n.up
			f(n.own)
		}
	}
	file, edit, window := menu.NewMenu(), menu.NewMenu(), menu.NewMenu()
	names := []string{"File", "Edit", "View", "Go", "Window", "Help"} // as on other programs' bars
	menus := map[string]*menu.Menu{"File": file, "Edit": edit, "Window": window}
	for _, c := range commands {
		if c.Menu == "" {
			continue
		}
		if menus[c.Menu] == nil {
			menus[c.Menu] = menu.NewMenu()
			if !slices.Contains(names, c.Menu) {
				names = append(names, c.Menu)
			}
		}
		menus[c.Menu].AddText(label(c), nil, act(func(context.Context) {
			n.run("dispatchEvent(new CustomEvent('freshet-command', { detail: %s }))", c.ID)
		}))
	}
	for _, command := range []string{"Cut", "Copy"} {
		edit.AddText(command, nil, act(func(context.Context) { n.run("document.execCommand(%s)", command) }))
	}
	edit.AddText("Paste", nil, act(func(own context.Context) {
		// A page may not read the clipboard: what is on it is typed instead.
		if text, err := runtime.ClipboardGetText(own); err == nil {
			n.run("document.execCommand('insertText', false, %s)", text)
		}
	}))
	edit.AddText("Select all", nil, act(func(context.Context) { n.run("document.execCommand(%s)", "selectAll") }))
	window.AddText("Minimise", nil, act(runtime.WindowMinimise))
	window.AddText("Maximise", nil, act(runtime.WindowToggleMaximise))
	window.AddText("Full screen", keys.Key("f11"), act(func(own context.Context) {
		if runtime.WindowIsFullscreen(own) {
			runtime.WindowUnfullscreen(own)
		} else {
			runtime.WindowFullscreen(own)
		}
	}))
	file.AddText("Quit", keys.CmdOrCtrl("q"), act(runtime.Quit))
	bar := menu.NewMenu()
	for _, name := range names {
		if m := menus[name]; m != nil {
			bar.Append(menu.SubMenu(name, m))
		}
	}
	return bar
}

// label begins as the other menus' do.
func label(c frontend.Command) string {
	if c.Words == "" {
		return c.ID
	}
	return strings.ToUpper(c.Words[:1]) + c.Words[1:]
}
