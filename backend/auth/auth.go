// Package auth knows who asks: people, what they may do, and the sessions of the web page.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"sync"
	"time"
)

// Act is something a person may or may not do. Every route of the API names exactly one.
type Act string

const (
	Read    Act = "read"    // look at anything but record contents
	Records Act = "records" // look at record contents
	Operate Act = "operate" // pause, resume, wait, test
	Define  Act = "define"  // make and remove clusters, sources, sinks, topics
	Unlock  Act = "unlock"  // open a read-only cluster
	Plan    Act = "plan"    // freeze and dry-run replay plans
	Approve Act = "approve" // approve or reject plans
	Run     Act = "run"     // run, pause, resume, cancel replay jobs
	Demo    Act = "demo"    // the demo's load and faults
)

// Acts are all there are.
var Acts = []Act{Read, Records, Operate, Define, Unlock, Plan, Approve, Run, Demo}

// Person is who a request acts for.
type Person struct {
	ID    string // as audit entries name them: "local:ana"
	Local bool   // the owner of this data directory, at this machine
}

// May reports whether p may do act. The owner at the machine may do everything; nobody else may do anything yet.
func (p Person) May(Act) bool { return p.Local && p.ID != "" }

type personKey struct{}

// With puts p into ctx.
func With(ctx context.Context, p Person) context.Context {
	return context.WithValue(ctx, personKey{}, p)
}

// From returns the person of ctx; ok is false where nobody was set.
func From(ctx context.Context) (p Person, ok bool) {
	p, ok = ctx.Value(personKey{}).(Person)
	return p, ok
}

// System is the person of what Freshet does by itself.
var System = Person{ID: "system"}

// Actor is the audit name of ctx's person; System's where nobody was set.
func Actor(ctx context.Context) string {
	if p, ok := From(ctx); ok {
		return p.ID
	}
	return System.ID
}

const (
	codeTTL     = 15 * time.Minute // a printed link is clicked by a person
	sessionTTL  = 12 * time.Hour
	maxCodes    = 64
	maxSessions = 256
)

// Sessions hands out one-time codes and trades them for sessions. It holds hashes only. Codes end with the process;
// sessions do unless Keep was told where they are kept.
type Sessions struct {
	mu       sync.Mutex
	codes    map[[32]byte]grant
	sessions map[[32]byte]grant

	saving sync.Mutex // what was changed later is saved later
	save   func([]Kept)
}

// Kept is a session as it is kept over a restart: its hash, never itself.
type Kept struct {
	Hash    []byte    `json:"sha256"`
	Person  Person    `json:"person"`
	Expires time.Time `json:"expires"`
}

type grant struct {
	person  Person
	expires time.Time
}

// NewSessions makes an empty set.
func NewSessions() *Sessions {
	return &Sessions{codes: map[[32]byte]grant{}, sessions: map[[32]byte]grant{}}
}

// Keep takes back the sessions that an earlier process kept, and hands save all there are whenever they change. It is
// called once, before anything else.
func (s *Sessions) Keep(kept []Kept, save func([]Kept)) {
	s.save = save
	now := time.Now()
	for _, k := range kept {
		if len(k.Hash) == sha256.Size && now.Before(k.Expires) {
			s.sessions[[32]byte(k.Hash)] = grant{k.Person, k.Expires}
		}
	}
}

func (s *Sessions) changed() {
	if s.save == nil {
		return
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	kept := make([]Kept, 0, len(s.sessions))
	for hash, g := range s.sessions {
		kept = append(kept, Kept{hash[:], g.person, g.expires})
	}
	s.mu.Unlock()
	s.save(kept)
}

// Code makes a code of 160 bits that can be traded once, within 15 minutes.
func (s *Sessions) Code(p Person) string { return s.issue(s.codes, maxCodes, codeTTL, p) }

// Trade gives a session for a code that was not used before.
func (s *Sessions) Trade(code string) (session string, ok bool) {
	p, ok := s.take(code)
	if !ok {
		return "", false
	}
	session = s.issue(s.sessions, maxSessions, sessionTTL, p)
	s.changed()
	return session, true
}

// Person returns whose session it is.
func (s *Sessions) Person(session string) (Person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.sessions[sha256.Sum256([]byte(session))]
	return g.person, ok && time.Now().Before(g.expires)
}

// End forgets a session.
func (s *Sessions) End(session string) {
	s.mu.Lock()
	delete(s.sessions, sha256.Sum256([]byte(session)))
	s.mu.Unlock()
	s.changed()
}

func (s *Sessions) take(code string) (Person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sha256.Sum256([]byte(code))
	g, ok := s.codes[key]
	delete(s.codes, key)
	return g.person, ok && time.Now().Before(g.expires)
}

// issue stores a new token; a full set first loses what has expired, then the oldest.
func (s *Sessions) issue(set map[[32]byte]grant, limit int, ttl time.Duration, p Person) string {
	var raw [20]byte
	rand.Read(raw[:])
	token := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var oldest [32]byte
	var oldestAt time.Time
	for k, g := range set {
		if now.After(g.expires) {
			delete(set, k)
		} else if oldestAt.IsZero() || g.expires.Before(oldestAt) {
			oldest, oldestAt = k, g.expires
		}
	}
	if len(set) >= limit {
		delete(set, oldest)
	}
	set[sha256.Sum256([]byte(token))] = grant{p, now.Add(ttl)}
	return token
}

// Same compares two secrets in a time that does not tell where they differ.
func Same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
