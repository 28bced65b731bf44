package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

var (
	_ strict.Text = (*Size)(nil)
	_ strict.Text = (*Money)(nil)
	_ strict.Text = (*Secret)(nil)
	_ strict.Text = (*Instructions)(nil)
)

// Size is a number of bytes.
type Size int64

var sizeForm = regexp.MustCompile(`^([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([KMGT]i?B|B)?$`)

var sizeUnits = map[string]float64{
	"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// Expected implements [strict.Text].
func (*Size) Expected() string { return `a size such as "512MiB"` }

// UnmarshalText reads a number of bytes or a number with a unit from KB, KiB to
// TB, TiB.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizeForm.FindSubmatch(text)
	if m == nil {
		return errors.New("use a number and one of the units B, KB, KiB, MB, MiB, GB, GiB, TB, TiB")
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return errors.New("the number cannot be read")
	}
	if n *= sizeUnits[string(m[2])]; n >= math.MaxInt64 {
		return errors.New("it is too large")
	}
	*s = Size(n)
	return nil
}

// Money is in millionths of a US dollar.
type Money int64

// Expected implements [strict.Text].
func (*Money) Expected() string { return "an amount of US dollars such as 0.50" }

// UnmarshalText reads US dollars with up to six decimals.
func (m *Money) UnmarshalText(text []byte) error {
	usd, err := strconv.ParseFloat(string(text), 64)
	micros := math.Round(usd * 1e6)
	switch {
	case err != nil:
		return errors.New("it is not a number")
	case !(usd >= 0 && usd <= 1e9):
		return errors.New("it must be between 0 and 1000000000")
	case usd > 0 && micros == 0:
		return errors.New("the smallest amount is 0.000001")
	}
	*m = Money(micros)
	return nil
}

// Secret refers to a secret: text with ${env:NAME} and ${file:PATH} in it. It
// never holds one, so that it may be printed.
type Secret struct {
	text string
	dir  string // that relative paths begin at
}

var reference = regexp.MustCompile(`\$\{(env|file):([^{}]+)\}`)

// Expected implements [strict.Text].
func (*Secret) Expected() string {
	return `a reference "${env:NAME}" or "${file:PATH}"`
}

// UnmarshalText takes any text; which values must be references is checked where
// the key is known. A reference that is not one of the two kinds is an error.
func (s *Secret) UnmarshalText(text []byte) error {
	if strings.Contains(reference.ReplaceAllString(string(text), ""), "${") {
		return errors.New("it has the form of neither")
	}
	s.text = string(text)
	return nil
}

// String returns the reference, or a placeholder for text that is none.
func (s Secret) String() string {
	if s.text == "" || s.references() {
		return s.text
	}
	return "(literal)"
}

// GoString is as String.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// IsZero reports whether the configuration gives no secret.
func (s Secret) IsZero() bool { return s.text == "" }

// Resolve returns the text with all references followed: a variable that is set,
// or a file without the line end at its end. The error names the reference and
// never what it leads to.
func (s Secret) Resolve() (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(s.text, func(ref string) string {
		value, err := s.follow(reference.FindStringSubmatch(ref))
		if err != nil && failed == nil {
			failed = fmt.Errorf("read %s: %w", ref, err)
		}
		return value
	})
	if failed != nil {
		return "", failed
	}
	return out, nil
}

func (s Secret) follow(match []string) (string, error) {
	if match[1] == "env" {
		if v := os.Getenv(match[2]); v != "" {
			return v, nil
		}
		return "", errors.New("the variable is not set; set it and start again")
	}
	b, err := os.ReadFile(absolute(s.dir, match[2]))
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// references reports whether the text has a reference.
func (s Secret) references() bool { return reference.MatchString(s.text) }

// only reports whether the text is one reference and nothing else.
func (s Secret) only() bool {
	return s.references() && reference.FindString(s.text) == s.text
}

// Instructions is what an agent is told to do. Text that begins with ./, ../ or /
// is the name of a file, which Load reads.
type Instructions struct {
	Text string
	File string // absolute, or relative as Config says; empty for text in the configuration
}

// Expected implements [strict.Text].
func (*Instructions) Expected() string { return `text, or the path of a file such as "./agent.md"` }

// UnmarshalText tells text from a path.
func (i *Instructions) UnmarshalText(text []byte) error {
	s := string(text)
	for _, prefix := range []string{"./", "../", "/"} {
		if strings.HasPrefix(s, prefix) && !strings.Contains(s, "\n") {
			i.File = s
			return nil
		}
	}
	i.Text = s
	return nil
}
