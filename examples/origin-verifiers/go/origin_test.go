package origin

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

type vectors struct {
	Bolthub struct {
		Cases []struct {
			Name         string            `json:"name"`
			Method       string            `json:"method"`
			VerifierPath string            `json:"verifier_path"`
			Body         []byte            `json:"body_b64"`
			Secrets      []string          `json:"secrets"`
			Headers      map[string]string `json:"headers"`
			VerifyAtMs   int64             `json:"verify_at_ms"`
			Valid        bool              `json:"valid"`
		} `json:"cases"`
	} `json:"bolthub"`
	V1 struct {
		Cases []v1Case `json:"cases"`
	} `json:"tollkeep_v1"`
}

type v1Case struct {
	Name      string            `json:"name"`
	Keys      map[string]string `json:"keys"`
	Signature string            `json:"signature_header"`
	Received  struct {
		Method    string            `json:"method"`
		Authority string            `json:"authority"`
		Target    string            `json:"target"`
		Headers   map[string]string `json:"headers"`
		Body      []byte            `json:"body_b64"`
	} `json:"received"`
	VerifyAt   int64    `json:"verify_at"`
	SeenNonces []string `json:"seen_nonces"`
	Reason     string   `json:"reason"`
}

func read(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.V1.Cases) != 27 || len(all.Bolthub.Cases) != 24 {
		t.Fatal("not all of the vectors")
	}
	return all
}

func header(pairs map[string]string) http.Header {
	header := http.Header{}
	for name, value := range pairs {
		header.Set(name, value)
	}
	return header
}

func reason(c *v1Case, signature string) string {
	received := Received{c.Received.Method, c.Received.Authority, c.Received.Target, header(c.Received.Headers), c.Received.Body}
	received.Header.Set("X-Tollkeep-Signature", signature)
	verifier := NewVerifier(c.Keys)
	now := time.Unix(c.VerifyAt, 0)
	for range c.SeenNonces {
		verifier.Verify(&received, now)
	}
	_, err := verifier.Verify(&received, now)
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestV1(t *testing.T) {
	all := read(t)
	for at := range all.V1.Cases {
		c := &all.V1.Cases[at]
		if got := reason(c, c.Signature); got != c.Reason {
			t.Errorf("%s: %q, want %q", c.Name, got, c.Reason)
		}
	}
}

func TestV1HasOneForm(t *testing.T) {
	all := read(t)
	c := &all.V1.Cases[3]
	for _, change := range [][2]string{
		{",n=", ", n="},
		{"t=1795312800,n=", "n=1795312800,t="},
		{",v1=", ",x=1,v1="},
		{"t=1", "t=01"},
		{"n=A", "n=AA"},
		{"k=k2026a", "k="},
		{"h=content-type", "h=Content-Type"},
		{"h=content-type;x-request-id", "h=x-request-id;content-type"},
		{"h=content-type;", "h=content-type;content-type;"},
		{"b=0b", "b=0B"},
	} {
		bad := strings.Replace(c.Signature, change[0], change[1], 1)
		if bad == c.Signature || reason(c, bad) != "malformed" {
			t.Errorf("%s: %q", bad, reason(c, bad))
		}
	}
	if got := reason(c, c.Signature+"\n"); got != "malformed" {
		t.Errorf("a line end: %q", got)
	}
}

func TestBolthub(t *testing.T) {
	for _, c := range read(t).Bolthub.Cases {
		received := Received{Method: c.Method, Header: header(c.Headers), Body: c.Body}
		err := VerifyBolthub(c.Secrets, &received, c.VerifierPath, time.UnixMilli(c.VerifyAtMs))
		if (err == nil) != c.Valid {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}
