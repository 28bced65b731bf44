package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Follow, search, show, export and verify the record of who did what, and was allowed to",
		Args:  arguments,
		RunE:  help,
	}
	cmd.AddCommand(
		r.auditTailCommand(), r.auditSearchCommand(), r.auditShowCommand(),
		r.auditExportCommand(), r.auditVerifyCommand(), r.auditCheckpointCommand(), r.auditKeyCommand(),
	)
	return cmd
}

func (r *runner) auditTailCommand() *cobra.Command {
	var s selection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print records as they are made, until it is stopped",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for rec, err := range r.follow(cmd.Context(), s.filter(r.app.Now())) {
				switch {
				case err != nil:
					return fmt.Errorf("follow the audit: %w", err)
				case asJSON:
					r.out.linef("%s", compact(rec))
				default:
					r.out.linef("%s", auditLine(rec))
				}
			}
			return nil
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON, one a line")
	return cmd
}

func (r *runner) auditSearchCommand() *cobra.Command {
	var s selection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "search",
		Short: "List records, the newest first",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd.Context(), r, "search the audit", func(a Audit) error {
				list, err := s.search(cmd.Context(), a, r.app.Now())
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(list)
				}
				return r.auditTable(list)
			})
		},
	}
	s.flags(cmd)
	s.timeFlags(cmd)
	cmd.Flags().IntVar(&s.limit, "limit", 20, "how many")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) auditShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show RECORD",
		Short: "Print all of a record",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd.Context(), r, "show record "+args[0], func(a Audit) error {
				rec, err := a.AuditRecord(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, rec, func() { r.auditRecord(rec) })
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// formats are those that records can be exported in.
var formats = []string{"jsonl", "ocsf", "cloudtrail"}

func (r *runner) auditExportCommand() *cobra.Command {
	var s selection
	var format, output string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write records in a format that other tools read, oldest first",
		Args: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return fmt.Errorf("export: the format %q does not exist; use %s", format, strings.Join(formats, ", "))
			}
			return arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd.Context(), r, "export the audit", func(a Audit) error {
				write := func(w io.Writer) error {
					return a.ExportAudit(cmd.Context(), s.filter(r.app.Now()), format, w)
				}
				if output == "" || output == "-" {
					return write(r.out.w)
				}
				size, err := save(output, write, func(io.Reader) error { return nil })
				if err == nil {
					r.out.linef("wrote %s to %s", bytesText(size), output)
				}
				return err
			})
		},
	}
	s.flags(cmd)
	s.timeFlags(cmd)
	cmd.Flags().StringVar(&format, "format", formats[0], strings.Join(formats, ", "))
	cmd.Flags().StringVarP(&output, "output", "o", "", "write them to this file instead of standard output")
	return cmd
}

func (r *runner) auditVerifyCommand() *cobra.Command {
	var checkpoint string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that no record was changed, removed, added or put in another order",
		Long: `Check that no record was changed, removed, added or put in another order. With a
checkpoint that was kept elsewhere, also that all records are still there that it was
signed over, which finds a store that was put back as a whole.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := readCheckpoint(checkpoint)
			if err != nil {
				return fmt.Errorf("verify the audit: %w", err)
			}
			return with(cmd.Context(), r, "verify the audit", func(a Audit) error {
				return r.verifyAudit(cmd.Context(), a, kept, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&checkpoint, "checkpoint", "", "a file with what vespiary audit checkpoint printed earlier")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// readCheckpoint reads the file with a checkpoint, "" for none.
func readCheckpoint(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s is empty; write vespiary audit checkpoint into it", file)
	}
	return string(b), err
}

func (r *runner) verifyAudit(ctx context.Context, a Audit, checkpoint string, asJSON bool) error {
	c, err := a.VerifyAudit(ctx, checkpoint)
	if err != nil {
		return err
	}
	if err := r.show(asJSON, c, func() { r.auditCheck(c, checkpoint != "") }); err != nil || c.OK {
		return err
	}
	return errFailed
}

func (r *runner) auditCheck(c host.AuditCheck, outside bool) {
	for _, p := range c.Problems {
		r.out.linef("FAIL  %s", oneLine(p))
	}
	state := "is whole and unchanged"
	if !c.OK {
		state = "is not as it was written"
	} else if outside {
		state += ", also by the given checkpoint"
	}
	r.out.linef("the audit %s: %s in %s, %d of them under a checkpoint", state,
		count(int(c.Records), "record", "records"), count(int(c.Chains), "chain", "chains"), c.Sequenced) //nolint:gosec // counts
}

func (r *runner) auditCheckpointCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed checkpoint, to be kept where this host cannot write",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd.Context(), r, "read the checkpoint of the audit", func(a Audit) error {
				text, err := a.Checkpoint(cmd.Context())
				if err == nil && text == "" {
					err = errors.New("there is none yet; it is made soon after the first record")
				}
				if err != nil {
					return err
				}
				r.out.text(text)
				return nil
			})
		},
	}
}
