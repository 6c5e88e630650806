package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

const (
	placeFile  = "window.json"
	socketFile = "window.sock"
	maxHash    = 2048 // bytes of a link's part in the page
	minWidth   = 800
	minHeight  = 560
)

// place is where a window stood when it was closed.
type place struct {
	V         int  `json:"v"`
	X         int  `json:"x"`
	Y         int  `json:"y"`
	Width     int  `json:"width"`
	Height    int  `json:"height"`
	Maximised bool `json:"maximised"`
}

// lastPlace reads a directory's place; one that cannot be used is as none.
func lastPlace(dir string) (p place, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, placeFile))
	if err != nil || json.Unmarshal(b, &p) != nil || p.V != 1 || p.Width < minWidth || p.Height < minHeight {
		return place{Width: 1440, Height: 900}, false
	}
	return p, true
}

func (p place) keep(dir string) error {
	p.V = 1
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(dir, placeFile), append(b, '\n'), 0o600)
}

// on tells whether the place is within a screen, by its size and by its corner.
func (p place) on(width, height int) (size, corner bool) {
	size = p.Width <= width && p.Height <= height
	return size, size && p.X >= 0 && p.Y >= 0 && p.X+p.Width <= width && p.Y+p.Height <= height
}

// LinkHash is the part of a link freshet://open#/… that the page goes to; "" where there is none.
func LinkHash(link string) (string, error) {
	rest, ours := strings.CutPrefix(link, "freshet://")
	at := strings.IndexByte(rest, '#')
	if ours && at < 0 {
		return "", nil
	}
	hash, why := rest[max(at, 0):], ""
	switch {
	case !ours:
		why = "it does not begin with freshet://"
	case !strings.HasPrefix(hash, "#/"):
		why = "what is behind its # does not begin with /"
	case len(hash) > maxHash:
		why = "it is too long"
	case !utf8.ValidString(hash) || strings.ContainsFunc(hash, unicode.IsControl):
		why = "it holds characters that no link has"
	default:
		return hash, nil
	}
	return "", fault.New(fault.Invalid, "open the link", "a link is freshet://open#/ and what a page's address has behind its #/", "%s", why)
}

// handOn brings the window that is open on the directory to the front, at hash. It tells whether there is one, and one
// that does not answer is none.
func handOn(dir, hash string) bool {
	const patience = 5 * time.Second
	conn, err := net.DialTimeout("unix", filepath.Join(dir, socketFile), patience)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	if _, err := io.WriteString(conn, hash+"\n"); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

// listen takes what later windows of the directory hand on, until ctx ends.
func (w *window) listen(ctx context.Context) error {
	if err := os.MkdirAll(w.dataDir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(w.dataDir, socketFile)
	// A window that was killed left it, or handOn would have found one.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() }) // which removes the file
	w.parts.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			w.hear(conn)
		}
	})
	return nil
}

func (w *window) hear(conn net.Conn) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxHash+1)).ReadString('\n')
	if err != nil {
		return
	}
	hash, err := LinkHash("freshet://open" + strings.TrimSuffix(line, "\n"))
	if err != nil {
		return
	}
	w.goTo(hash)
	_, _ = conn.Write([]byte{'\n'})
}
