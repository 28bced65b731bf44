package model

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// maxSecret bounds a file that holds a secret, in bytes.
const maxSecret = 64 << 10

var errLiteral = errors.New("a secret must be a reference, not the secret itself: " +
	"use ${env:NAME} or ${file:/path} so that it stays out of the configuration")

// NewSecret returns a secret that is already at hand.
func NewSecret(value string) Secret { return wire.NewSecret(value, "") }

// ResolveSecret returns the secret behind a reference: ${env:NAME} is an
// environment variable and ${file:/path} a file, of whose content white space at
// both ends is not part. An empty reference is no secret. A literal is an error,
// and the error does not repeat it.
func ResolveSecret(ref string) (Secret, error) {
	if ref == "" {
		return Secret{}, nil
	}
	inner, ok := strings.CutPrefix(ref, "${")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed {
		return Secret{}, errLiteral
	}
	kind, name, _ := strings.Cut(inner, ":")
	switch {
	case kind == "env" && name != "":
		return fromEnv(ref, name)
	case kind == "file" && name != "":
		return fromFile(ref, name)
	default:
		return Secret{}, errLiteral
	}
}

// fromEnv treats an empty variable as unset: a key that is empty by mistake would
// only show as a refusal of the provider, later.
func fromEnv(ref, name string) (Secret, error) {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "" {
		return Secret{}, fmt.Errorf("secret %s: the environment variable is not set: export %s", ref, name)
	}
	return checked(ref, value)
}

// fromFile wants an absolute path, because a service's working directory is not
// where its configuration lies.
func fromFile(ref, path string) (Secret, error) {
	if !filepath.IsAbs(path) {
		return Secret{}, fmt.Errorf("secret %s: give the file's absolute path", ref)
	}
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("secret %s: %w", ref, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, fmt.Errorf("secret %s: %w", ref, err)
	}
	if len(data) > maxSecret {
		return Secret{}, fmt.Errorf("secret %s: the file is larger than 64 KiB: it must hold the secret alone", ref)
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		return Secret{}, fmt.Errorf("secret %s: the file is empty: write the secret into it", ref)
	}
	return checked(ref, value)
}

// checked refuses what no header can carry, before Go's HTTP client would refuse
// it in an error that shows the value.
func checked(ref, value string) (Secret, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Secret{}, fmt.Errorf("secret %s: it holds a line break or a control character: it must be one line", ref)
	}
	return wire.NewSecret(value, ref), nil
}
