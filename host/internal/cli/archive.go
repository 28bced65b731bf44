package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export SESSION [FILE|-]",
		Short: "Write a session to a file, for another host or to keep",
		Long: `Write a session to a file, SESSION.session if none is named, or with - to standard
output. The file holds what was said and read, in the clear.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := args[0] + ".session"
			if len(args) > 1 {
				file = args[1]
			}
			return r.durable(cmd.Context(), "export session "+args[0], func(d Durable) error {
				if file == "-" {
					return d.Export(cmd.Context(), args[0], r.out.w)
				}
				return r.export(cmd.Context(), d, args[0], file)
			})
		},
	}
}

// export writes a session to a file and reads it again.
func (r *runner) export(ctx context.Context, d Durable, session, file string) error {
	var e Exported
	size, err := save(file, func(w io.Writer) error { return d.Export(ctx, session, w) }, func(in io.Reader) (err error) {
		e, err = r.app.VerifyExport(ctx, in)
		return err
	})
	if err != nil {
		return err
	}
	r.out.linef("wrote session %s to %s: %s in %s", session, file, count(int(e.Entries), "entry", "entries"), bytesText(size)) //nolint:gosec // a count
	r.out.linef("digest %s", e.Digest)
	return nil
}

// save writes a new file that only its user may read, whole and found good by check or
// not at all.
func save(file string, write func(w io.Writer) error, check func(r io.Reader) error) (size int64, err error) {
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s is there already; name another file", file)
	}
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return 0, fmt.Errorf("%s is there already; remove it if nothing writes to it", part)
	}
	if err != nil {
		return 0, err
	}
	if size, err = fill(f, write); err == nil {
		_, err = f.Seek(0, io.SeekStart)
		err = cmp.Or(err, check(f))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		_ = os.Remove(part)
	}
	return size, err
}

// fill writes to a file and makes sure that it is kept.
func fill(f *os.File, write func(w io.Writer) error) (size int64, err error) {
	buf := bufio.NewWriterSize(f, 1<<20)
	if err := write(buf); err != nil {
		return 0, err
	}
	if err := errors.Join(buf.Flush(), f.Sync()); err != nil {
		return 0, err
	}
	return f.Seek(0, io.SeekCurrent)
}

func (r *runner) sessionsImportCommand() *cobra.Command {
	var agent string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Make a session of a file that was exported",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := r.open(args[0])
			if err != nil {
				return fmt.Errorf("import a session: %w", err)
			}
			defer f.Close() //nolint:errcheck // only read from
			return r.durable(cmd.Context(), "import "+args[0], func(d Durable) error {
				s, err := d.Import(cmd.Context(), agent, f)
				if err != nil {
					return err
				}
				return r.show(asJSON, s, func() {
					r.out.linef("session %s of agent %s: %s", s.ID, s.Agent, count(s.Turns, "turn", "turns"))
					r.goOn(s)
				})
			})
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "the agent that the session goes on with; else the one that the file names")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// open opens a file to read, - being standard input.
func (r *runner) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(r.in), nil
	}
	return os.Open(file)
}

func (r *runner) sessionsVerifyCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [SESSION]",
		Short: "Check that a session's record is whole and unchanged",
		Long: `Check that a session's record is whole and unchanged. With --file it is that of an
exported session, for which no host is needed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case file == "" && len(args) == 0:
				return errors.New("verify: SESSION or --file is missing")
			case file != "" && len(args) > 0:
				return errors.New("verify: SESSION and --file are two things; give one")
			}
			return arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				return r.verifyFile(cmd.Context(), file, asJSON)
			}
			return r.durable(cmd.Context(), "verify session "+args[0], func(d Durable) error {
				v, err := d.Verify(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, v, func() { r.verified(v) })
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "an exported session")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) verifyFile(ctx context.Context, file string, asJSON bool) error {
	e, err := r.exported(ctx, file)
	if err != nil {
		return fmt.Errorf("verify %s: %w", file, err)
	}
	return r.show(asJSON, e, func() {
		r.out.linef("%s holds session %s of agent %s, whole and unchanged", file, clean(e.Session), clean(e.Agent))
		r.out.linef("holds    %s in %s", count(int(e.Entries), "entry", "entries"), count(e.Turns, "turn", "turns")) //nolint:gosec // a count
		r.out.linef("module   %s", clean(e.Module))
		r.out.linef("digest   %s", e.Digest)
	})
}

func (r *runner) exported(ctx context.Context, file string) (Exported, error) {
	f, err := r.open(file)
	if err != nil {
		return Exported{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return r.app.VerifyExport(ctx, f)
}

func (r *runner) verified(v host.Verified) {
	r.out.linef("the record of session %s is whole: %s", v.Session, count(int(v.Entries), "entry", "entries")) //nolint:gosec // a count
	r.out.linef("payloads %d read, %d erased", v.Read, v.Erased)
	r.out.linef("chain    %s", v.Chain)
}

func (r *runner) sessionsEraseCommand() *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "erase SESSION",
		Short: "Destroy what a session has said and read",
		Long: `Destroy what a session has said and read, by destroying the key that it is stored
under. That it took place stays on record and can be verified. There is no way back.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), "erase session "+args[0], func(d Durable) error {
				if !yes {
					if err := r.confirm(args[0]); err != nil {
						return err
					}
				}
				s, err := d.Erase(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, s, func() { r.out.linef("erased session %s; its record remains without what was said and read", s.ID) })
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// confirm has a person type the name of what cannot be brought back.
func (r *runner) confirm(name string) error {
	r.err.text(fmt.Sprintf("There is no way back. Type %s to erase it: ", name))
	line, err := bufio.NewReader(r.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != name {
		return errors.New("nothing was erased; type its name, or give --yes where nobody can")
	}
	return nil
}
