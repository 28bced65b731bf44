package cli

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// TestPinnedCertificate: the host's own certificate is trusted whatever its names,
// and no other is.
func TestPinnedCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k" {
			t.Errorf("key = %q", r.Header.Get("Authorization"))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	configFile := runningHost(t, server.URL)
	cfg, err := config.Load(configFile)
	if err != nil {
		t.Fatal(err)
	}
	own := server.Certificate().Raw
	other := append([]byte{}, own...)
	other[len(other)-1] ^= 1
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{"own": {own, ""}, "other": {other, "another certificate"}} {
		cfg.TLS = &config.TLS{Cert: filepath.Join(t.TempDir(), "cert.pem")}
		b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tc.raw})
		if err := os.WriteFile(cfg.TLS.Cert, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := newClient(cfg, server.URL)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Reload(t.Context())
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v", name, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusal: problem details become the host's error, anything else an error
// that does not repeat what was answered.
func TestRefusal(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":"not_found","detail":"there is no such session"}`: "not_found: there is no such session",
		`<html>bad gateway</html>`:                                 "internal: ask the host: it answered 404 Not Found and not why",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		c := &client{base: server.URL, http: server.Client()}
		_, err := c.Session(t.Context(), "S1")
		if err == nil || string(host.CodeOf(err))+": "+err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}
