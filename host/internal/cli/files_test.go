package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
)

// VerifyExport knows the files of apitest.
func (*desk) VerifyExport(_ context.Context, r io.Reader) (cli.Exported, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return cli.Exported{}, err
	}
	lines := strings.Split(string(b), "\n")
	n := len(lines) - 3
	if n < 0 || lines[n+1] != "end" {
		return cli.Exported{}, errors.New("it is cut off; export it again")
	}
	return cli.Exported{
		Session: "S1", Agent: strings.TrimPrefix(lines[0], "session of "), Module: "sha256:00",
		Entries: uint64(n), Turns: n, Digest: apitest.Root,
	}, nil
}

// Backup writes what a backup of nothing is.
func (*desk) Backup(_ context.Context, _ *config.Config, w io.Writer) error {
	_, err := io.WriteString(w, "bb")
	return err
}

// VerifyBackup wants nothing but the letter b.
func (*desk) VerifyBackup(_ context.Context, r io.Reader) (cli.Backed, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return cli.Backed{}, err
	}
	if len(b) == 0 || len(bytes.Trim(b, "b")) > 0 {
		return cli.Backed{}, errors.New("it is no backup, or damaged")
	}
	return cli.Backed{Created: apitest.Epoch, Keys: int64(len(b)), Bytes: int64(len(b)), Digest: fmt.Sprintf("sha256:%d", len(b))}, nil
}

// Restore keeps the backup as it is.
func (d *desk) Restore(ctx context.Context, cfg *config.Config, r io.Reader) (cli.Backed, error) {
	var kept bytes.Buffer
	b, err := d.VerifyBackup(ctx, io.TeeReader(r, &kept))
	if err != nil {
		return b, err
	}
	dir := filepath.Join(cfg.Data, "store")
	if _, err := os.Stat(dir); err == nil {
		return b, fmt.Errorf("%s holds a store; name an empty or new folder", cfg.Data)
	}
	return b, errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "kept"), kept.Bytes(), 0o600))
}

// Image takes the size of a module for what there is to know of it.
func (*desk) Image(_ context.Context, module []byte) (cli.Image, error) {
	switch os.Getenv("IMAGE") {
	case "reseeds":
		return cli.Image{Reseeds: true, Prepared: 1}, nil
	case "none":
		return cli.Image{NoImage: []string{"it grows a table", "it opens\x1b[2J files"}, Prepared: 1}, nil
	case "refused":
		return cli.Image{}, errors.New("it imports env.puts")
	}
	return cli.Image{Prepared: 1}, nil
}
