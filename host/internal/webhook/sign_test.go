package webhook

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example that implementations of the specification share. The signatures were
// computed with: openssl dgst -sha256 -mac HMAC -macopt hexkey:... -binary | base64
const (
	exampleSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	exampleTime      = "1614265330"
	exampleBody      = `{"test": 2432232314}`
	exampleSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func parsed(t *testing.T, text string) []byte {
	t.Helper()
	secret, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func signed(id, timestamp, signature string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", timestamp)
	h.Set("webhook-signature", signature)
	return h
}

func TestSignature(t *testing.T) {
	secret := parsed(t, exampleSecret)
	if got := sign([][]byte{secret}, exampleID, exampleTime, []byte(exampleBody)); got != exampleSignature {
		t.Errorf("got %s, want %s", got, exampleSignature)
	}
	// Another one, whose secret has 18 bytes only.
	short, err := base64.StdEncoding.DecodeString("plJ3nmyCDGBKInavdOK15jsl")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,rhWDpYIDc9V78OYvfmwcJ+mF60xFBQGVJmjwqEZ4j3s="
	if got := sign([][]byte{short}, "msg_loFOjxNNNLJTZDzW", "1731705121", []byte(`{"event_type":"ping","data":{"success":true}}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	old := bytes.Repeat([]byte{1}, 24)
	got := sign([][]byte{secret, old}, exampleID, exampleTime, []byte(exampleBody))
	if !strings.HasPrefix(got, exampleSignature+" v1,") {
		t.Errorf("with two secrets the header is %q", got)
	}
	for _, s := range [][]byte{secret, old} {
		if err := Verify(s, signed(exampleID, exampleTime, got), []byte(exampleBody), time.Unix(1614265330, 0), time.Minute); err != nil {
			t.Error(err)
		}
	}
}

func TestVerify(t *testing.T) {
	at := time.Unix(1614265330, 0)
	for name, test := range map[string]struct {
		header http.Header
		body   string
		now    time.Time
		want   string // "" verifies
	}{
		"as signed":          {signed(exampleID, exampleTime, exampleSignature), exampleBody, at, ""},
		"late, in tolerance": {signed(exampleID, exampleTime, exampleSignature), exampleBody, at.Add(5 * time.Minute), ""},
		"among others":       {signed(exampleID, exampleTime, "v1a,AAAA v2,x v1, v1,!! "+exampleSignature), exampleBody, at, ""},
		"too late":           {signed(exampleID, exampleTime, exampleSignature), exampleBody, at.Add(5*time.Minute + time.Second), "tolerance"},
		"from the future":    {signed(exampleID, exampleTime, exampleSignature), exampleBody, at.Add(-6 * time.Minute), "tolerance"},
		"another time":       {signed(exampleID, "1614265331", exampleSignature), exampleBody, at, "no signature"},
		"another id":         {signed("msg_x", exampleTime, exampleSignature), exampleBody, at, "no signature"},
		"another body":       {signed(exampleID, exampleTime, exampleSignature), exampleBody + " ", at, "no signature"},
		"another version":    {signed(exampleID, exampleTime, "v2"+exampleSignature[2:]), exampleBody, at, "no signature"},
		"shortened":          {signed(exampleID, exampleTime, exampleSignature[:15]), exampleBody, at, "no signature"},
		"no number":          {signed(exampleID, "now", exampleSignature), exampleBody, at, "number"},
		"no id":              {signed("", exampleTime, exampleSignature), exampleBody, at, "missing"},
		"no signature":       {signed(exampleID, exampleTime, ""), exampleBody, at, "missing"},
		"nothing":            {http.Header{}, exampleBody, at, "missing"},
	} {
		err := Verify(parsed(t, exampleSecret), test.header, []byte(test.body), test.now, 5*time.Minute)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestParseSecret(t *testing.T) {
	long := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, text := range []string{long(24), long(64), " " + long(32) + "\n"} {
		if _, err := ParseSecret(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "whsec_", long(23), long(65), exampleSecret[6:], "whsec_plJ3nmyCDGBKInavdOK15jsl", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!!", "whsk_" + exampleSecret[6:]} {
		_, err := ParseSecret(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
		} else if len(text) > 6 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}
