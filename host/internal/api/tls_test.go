package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/api"
)

// writeCert writes a self-signed certificate with the serial number n.
func writeCert(t *testing.T, files api.TLS, n int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, files.Cert, "CERTIFICATE", cert, n)
	writePEM(t, files.Key, "PRIVATE KEY", der, n)
}

// writePEM gives the file a time of its own, because clocks of file systems are
// coarse.
func writePEM(t *testing.T, file, kind string, der []byte, n int64) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(n, 0)
	if err := os.Chtimes(file, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestTLSReload(t *testing.T) {
	dir := t.TempDir()
	files := api.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeCert(t, files, 1)
	var skew atomic.Int64
	addr, _ := serve(t, api.Options{TLS: files, Now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }})
	serial := func() int64 {
		skew.Add(int64(time.Minute))
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
		if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Errorf("protocol %q", p)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	writeCert(t, files, 2)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d after a change, want 2", n)
	}
	writePEM(t, files.Key, "PRIVATE KEY", []byte("no key"), 3)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d after a broken change, want 2", n)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.0 400" {
		t.Errorf("plain HTTP on the TLS port: %q, %v", answer, err)
	}
}

// TestQuietStreamOverHTTP2 has a stream that is quiet for longer than a write may
// take.
func TestQuietStreamOverHTTP2(t *testing.T) {
	dir := t.TempDir()
	files := api.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeCert(t, files, 1)
	addr, _ := serve(t, api.Options{
		TLS: files, Routes: []api.Route{follow(quiet(make(chan struct{})))},
		Limits: api.Limits{Write: 200 * time.Millisecond, Beat: 400 * time.Millisecond},
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(request(t, "https://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if resp.ProtoMajor != 2 {
		t.Fatalf("HTTP/%d", resp.ProtoMajor)
	}
	beat := make([]byte, 64)
	for got := ""; !strings.Contains(got, ": \n\n"); {
		n, err := resp.Body.Read(beat)
		if err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		got += string(beat[:n])
	}
}

func TestTLSFilesMustLoad(t *testing.T) {
	for _, files := range []api.TLS{{Cert: "only"}, {Key: "only"}, {Cert: "no-such", Key: "no-such"}} {
		if _, err := api.New(api.Options{Auth: nopAuth{}, Now: time.Now, TLS: files}); err == nil {
			t.Errorf("%v: no error", files)
		}
	}
}
