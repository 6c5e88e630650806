package auth_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet/backend/auth"
)

func TestCodeIsTradedOnce(t *testing.T) {
	s := auth.NewSessions()
	ana := auth.Person{ID: "local:ana", Local: true}
	code := s.Code(ana)
	session, ok := s.Trade(code)
	if !ok {
		t.Fatal("a fresh code was refused")
	}
	if p, ok := s.Person(session); !ok || p != ana {
		t.Fatalf("session belongs to %+v, %v", p, ok)
	}
	if _, ok := s.Trade(code); ok {
		t.Fatal("the same code was traded twice")
	}
	if _, ok := s.Person(code); ok {
		t.Fatal("a code works as a session")
	}
	s.End(session)
	if _, ok := s.Person(session); ok {
		t.Fatal("an ended session still works")
	}
}

func TestCodesAndSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := auth.NewSessions()
		late := s.Code(auth.Person{ID: "a", Local: true})
		session, _ := s.Trade(s.Code(auth.Person{ID: "b", Local: true}))
		time.Sleep(16 * time.Minute)
		if _, ok := s.Trade(late); ok {
			t.Error("a code of 16 minutes ago was traded")
		}
		if _, ok := s.Person(session); !ok {
			t.Error("a session of 16 minutes ended")
		}
		time.Sleep(12 * time.Hour)
		if _, ok := s.Person(session); ok {
			t.Error("a session of over 12 hours still works")
		}
	})
}

func TestCodesAreBounded(t *testing.T) {
	s := auth.NewSessions()
	first := s.Code(auth.Person{ID: "a", Local: true})
	for range 200 {
		s.Code(auth.Person{ID: "a", Local: true})
	}
	if _, ok := s.Trade(first); ok {
		t.Error("the oldest of 201 codes was kept")
	}
}

func TestOnlyTheLocalOwnerMayAct(t *testing.T) {
	for _, act := range auth.Acts {
		if (auth.Person{}).May(act) || (auth.Person{ID: "x"}).May(act) || auth.System.May(act) {
			t.Errorf("%s is allowed to somebody else", act)
		}
	}
}

func TestSessionsAreKeptOverARestart(t *testing.T) {
	var kept []auth.Kept
	save := func(all []auth.Kept) { kept = all }
	first := auth.NewSessions()
	first.Keep(nil, save)
	ana := auth.Person{ID: "local:ana", Local: true}
	stays, _ := first.Trade(first.Code(ana))
	ends, _ := first.Trade(first.Code(ana))
	first.End(ends)

	second := auth.NewSessions()
	second.Keep(kept, save)
	if p, ok := second.Person(stays); !ok || p != ana {
		t.Fatalf("after a restart the session belongs to %+v, %v", p, ok)
	}
	if _, ok := second.Person(ends); ok {
		t.Fatal("an ended session came back")
	}
	for _, k := range kept {
		if strings.Contains(string(k.Hash), stays) {
			t.Fatal("a session itself is kept")
		}
	}

	kept[0].Expires = time.Now().Add(-time.Second)
	third := auth.NewSessions()
	third.Keep(kept, save)
	if _, ok := third.Person(stays); ok {
		t.Fatal("an expired session came back")
	}
}
