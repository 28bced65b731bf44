package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host/internal/config"
)

// caseSuffix is how the names of files with policy cases end.
const caseSuffix = ".test.yaml"

func (r *runner) policyTestCommand() *cobra.Command {
	var set string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Decide the cases that stand beside policies, and say which come out otherwise",
		Long: `Decide the cases in the files *.test.yaml of a folder by the policies there; without
a folder, those of the configuration. With --set, by the policies of another folder.
The exit code is 1 if one comes out otherwise than it says.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := r.policiesOf("test policies", args)
			if err != nil {
				return err
			}
			cases, err := readCases(folderOf(cfg, args))
			if err == nil && set != "" {
				files, err = readPolicies(set)
			}
			if err != nil {
				return fmt.Errorf("test policies: %w", err)
			}
			results, err := r.app.TestPolicies(cmd.Context(), cfg, files, cases)
			if err != nil {
				return err
			}
			return cmp.Or(r.show(asJSON, results, func() { r.tested(results) }), verdict(results))
		},
	}
	cmd.Flags().StringVar(&set, "set", "", "decide by the policies of this folder instead")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// folderOf is the folder that args may name, else that of the configuration's policies.
func folderOf(cfg *config.Config, args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return cfg.Policies
}

func readCases(dir string) ([]CaseFile, error) {
	var cases []CaseFile
	err := eachFile(dir, caseSuffix, func(name string, text []byte) { cases = append(cases, CaseFile{name, text}) })
	if err == nil && len(cases) == 0 {
		err = fmt.Errorf("there are no cases in %s; write some into a file whose name ends in %s", dir, caseSuffix)
	}
	return cases, err
}

// tested prints how cases came out, and of those that failed why.
func (r *runner) tested(results []CaseResult) {
	failed := 0
	for _, c := range results {
		if c.Passed {
			r.out.linef("ok    %s: %s", clean(c.File), short(c.Name))
			continue
		}
		failed++
		r.out.linef("FAIL  %s: %s", clean(c.File), short(c.Name))
		for _, line := range c.Why {
			r.out.linef("      %s", clean(line))
		}
	}
	r.out.linef("%s passed, %d failed", count(len(results)-failed, "case", "cases"), failed)
}

// verdict makes a failed case the command's failure.
func verdict(results []CaseResult) error {
	for _, c := range results {
		if !c.Passed {
			return errFailed
		}
	}
	return nil
}
