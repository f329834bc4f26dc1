// Package origin checks at an origin that a request came through the gateway unchanged.
//
// It needs nothing but the standard library: copy this file. Verifier checks
// X-Tollkeep-Signature, VerifyBolthub checks X-Gateway-Signature. Give both the request as it was
// received: the raw body, and the target before anything was decoded (http.Request.RequestURI).
package origin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// How far the clocks may be apart, and how late a request may come.
	freshS = 300
	// How long a nonce is remembered at least: longer than a signature is fresh, on either side.
	rememberedS = 600
	// Nonces remembered, twice, before requests are refused for want of room.
	noncesMax     = 1_000_000
	valueBytesMax = 8 * 1024
)

// Why a request was refused. They are for your log, not for the caller.
var (
	ErrMalformed    = errors.New("malformed")
	ErrStale        = errors.New("stale")
	ErrUnknownKey   = errors.New("unknown_key")
	ErrBodyMismatch = errors.New("body_mismatch")
	ErrMismatch     = errors.New("mismatch")
	ErrReplayed     = errors.New("replayed")
)

const name = "[a-z0-9!#$%&'*+.^_`|~-]+"

var form = regexp.MustCompile(`^t=(0|[1-9][0-9]{0,14}),n=([A-Za-z0-9_-]{22}),k=([A-Za-z0-9._-]{1,64}),` +
	`b=([0-9a-f]{64}|UNSIGNED),h=((?:` + name + `(?:;` + name + `)*)?),v1=([0-9a-f]{64})$`)

// Received is a request as it was received.
type Received struct {
	Method string
	// The value of Host (http.Request.Host).
	Authority string
	// Path and query as in the start line (http.Request.RequestURI).
	Target string
	Header http.Header
	Body   []byte
}

// The one value of a field.
func (r *Received) one(name string) (string, bool) {
	values := r.Header.Values(name)
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// Verifier keeps the keys, and remembers what it has seen. One for all goroutines.
type Verifier struct {
	keys         map[string][]byte
	mutex        sync.Mutex
	newer, older map[string]struct{}
	began        int64
	noncesMax    int
}

// NewVerifier takes secrets by key id.
func NewVerifier(secrets map[string]string) *Verifier {
	keys := make(map[string][]byte, len(secrets))
	for id, secret := range secrets {
		keys[id] = []byte(secret)
	}
	return &Verifier{keys: keys, newer: map[string]struct{}{}, older: map[string]struct{}{}, noncesMax: noncesMax}
}

// Verify returns the id of the key that signed the request.
func (v *Verifier) Verify(r *Received, now time.Time) (string, error) {
	value, _ := r.one("X-Tollkeep-Signature")
	if len(value) > valueBytesMax {
		return "", ErrMalformed
	}
	read := form.FindStringSubmatch(value)
	if read == nil {
		return "", ErrMalformed
	}
	signedAt, nonce, key, bodyHash, names, tag := read[1], read[2], read[3], read[4], read[5], read[6]
	var covered []string
	if names != "" {
		covered = strings.Split(names, ";")
	}
	for at := 1; at < len(covered); at++ {
		if covered[at-1] >= covered[at] {
			return "", ErrMalformed
		}
	}
	seconds, err := strconv.ParseInt(signedAt, 10, 64)
	if err != nil {
		return "", ErrMalformed
	}
	if age := now.Unix() - seconds; age > freshS || age < -freshS {
		return "", ErrStale
	}
	secret, known := v.keys[key]
	if !known {
		return "", ErrUnknownKey
	}
	if bodyHash != "UNSIGNED" {
		sum := sha256.Sum256(r.Body)
		if !hmac.Equal([]byte(hex.EncodeToString(sum[:])), []byte(bodyHash)) {
			return "", ErrBodyMismatch
		}
	}
	path, query, _ := strings.Cut(r.Target, "?")
	lines := []string{"TOLLKEEP-ORIGIN-V1", key, signedAt, nonce, r.Method, r.Authority, path, query, bodyHash, names}
	for _, name := range covered {
		received, once := r.one(name)
		if !once {
			return "", ErrMismatch
		}
		lines = append(lines, name+":"+received)
	}
	if !hmac.Equal([]byte(sign(secret, strings.Join(lines, "\n"), nil)), []byte(tag)) {
		return "", ErrMismatch
	}
	if !v.take(key+":"+nonce, now.Unix()) {
		return "", ErrReplayed
	}
	return key, nil
}

// take remembers a nonce in two generations; false if it was seen, or there is no room.
func (v *Verifier) take(nonce string, now int64) bool {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if age := now - v.began; age >= rememberedS {
		v.older = v.newer
		if age >= 2*rememberedS {
			v.older = map[string]struct{}{}
		}
		v.newer, v.began = map[string]struct{}{}, now
	}
	_, inOlder := v.older[nonce]
	_, inNewer := v.newer[nonce]
	if inOlder || inNewer || len(v.newer) >= v.noncesMax {
		return false
	}
	v.newer[nonce] = struct{}{}
	return true
}

var milliseconds = regexp.MustCompile(`^[0-9]{1,15}$`)

// VerifyBolthub checks a request against any of the secrets. path has the form that the gateway
// signs (path_form): raw, or percent-decoded, without query. This form leaves query, authority and
// other fields open, and remembers nothing.
func VerifyBolthub(secrets []string, r *Received, path string, now time.Time) error {
	signedAt, _ := r.one("X-Gateway-Timestamp")
	nonce, _ := r.one("X-Gateway-Nonce")
	tag, _ := r.one("X-Gateway-Signature")
	if !milliseconds.MatchString(signedAt) || nonce == "" || tag == "" {
		return ErrMalformed
	}
	at, err := strconv.ParseInt(signedAt, 10, 64)
	if err != nil {
		return ErrMalformed
	}
	if age := now.UnixMilli() - at; age < 0 || age > 30_000 {
		return ErrStale
	}
	head := strings.Join([]string{r.Method, path, signedAt, nonce, ""}, "\n")
	for _, secret := range secrets {
		if secret != "" && hmac.Equal([]byte(sign([]byte(secret), head, r.Body)), []byte(tag)) {
			return nil
		}
	}
	return ErrMismatch
}

func sign(secret []byte, head string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(head))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
