package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// masterKey is the file of the data folder with the key that all others are wrapped under.
const masterKey = "master.key"

func (r *runner) backupCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy all that the host keeps to a file, while it runs or not",
		Long: `Copy all that the host keeps to a file, while it runs or not. The file is checked
before it gets its name. The master key in the data folder, without which nobody can
read it, is not in it: keep a copy of that elsewhere.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := r.load()
			if err != nil {
				return err
			}
			b, err := r.backup(cmd.Context(), cfg, args[0])
			if err != nil {
				return fmt.Errorf("back up to %s: %w", args[0], err)
			}
			return r.show(asJSON, b, func() {
				r.out.linef("wrote %s: %d keys, %s", args[0], b.Keys, bytesText(b.Bytes))
				r.out.linef("digest %s", b.Digest)
				r.out.linef("keep %s of %s elsewhere: it is not in the backup, which nobody can read without it", masterKey, cfg.Data)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// backup copies what the running host keeps, else the store.
func (r *runner) backup(ctx context.Context, cfg *config.Config, file string) (b Backed, err error) {
	at, err := find(ctx, cfg)
	if err != nil {
		return b, err
	}
	write := func(w io.Writer) error { return r.app.Backup(ctx, cfg, w) }
	if at != nil {
		c, err := newClient(cfg, at.URL)
		if err != nil {
			return b, err
		}
		defer c.Close() //nolint:errcheck // it holds nothing
		write = func(w io.Writer) error { return c.Backup(ctx, w) }
	}
	_, err = save(file, write, func(in io.Reader) (err error) {
		b, err = r.app.VerifyBackup(ctx, in)
		return err
	})
	return b, err
}

func (r *runner) restoreCommand() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data folder of a backup, for a host that does not run",
		Long: `Make the data folder of a backup: that of the configuration, or the one that --data
names. It must not hold a store. The master key of the host that was backed up
belongs into the folder, too, before a host runs on it.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := r.target(data)
			if err != nil {
				return err
			}
			b, err := r.restore(cmd.Context(), cfg, args[0])
			if err != nil {
				return fmt.Errorf("restore %s: %w", args[0], err)
			}
			return r.show(asJSON, b, func() {
				r.out.linef("restored %d keys into %s", b.Keys, cfg.Data)
				r.out.linef("digest %s", b.Digest)
				r.keyHint(cfg)
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "the data folder to make; else that of the configuration")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// target returns the configuration of the host to restore. A machine that only has the
// backup yet needs none.
func (r *runner) target(data string) (*config.Config, error) {
	cfg, err := config.Load(r.configFile)
	_, faulty := errors.AsType[*strict.Error](err)
	switch {
	case err == nil && data == "":
		return cfg, nil
	case err == nil:
		cfg.Data = absolute(data)
		return cfg, nil
	case data != "" && !faulty && errors.Is(err, fs.ErrNotExist):
		return &config.Config{Data: absolute(data)}, nil
	}
	return nil, r.explainLoad(err)
}

func (r *runner) restore(ctx context.Context, cfg *config.Config, file string) (b Backed, err error) {
	at, err := find(ctx, cfg)
	if err != nil {
		return b, err
	}
	if at != nil {
		return b, fmt.Errorf("a host runs on %s (process %d); stop it, and name a folder without a store", cfg.Data, at.PID)
	}
	f, err := os.Open(file)
	if err != nil {
		return b, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return r.app.Restore(ctx, cfg, f)
}

// keyHint says what is still missing before a host can run.
func (r *runner) keyHint(cfg *config.Config) {
	if _, err := os.Stat(filepath.Join(cfg.Data, masterKey)); err == nil {
		r.out.linef("start it: vespiary serve")
		return
	}
	r.out.linef("next, copy %s of the host that was backed up into %s; without it nobody can read what was restored", masterKey, cfg.Data)
}
