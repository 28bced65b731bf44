package cedar

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Policy is one policy of a Set.
type Policy struct {
	ID          string            `json:"id"`
	File        string            `json:"file"`
	Line        int               `json:"line"`   // of its first token, from 1
	Effect      string            `json:"effect"` // "permit" or "forbid"
	Annotations map[string]string `json:"annotations,omitempty"`
	Text        string            `json:"text"` // without the comments before it
}

// Set is a compiled, validated set of policies. It never changes and is safe for
// concurrent use.
type Set struct {
	digest   string
	files    map[string][]byte
	policies []Policy
	byID     map[string]int // to policies
	index    *index
	words    *vocabulary
}

// Load compiles all *.cedar files of fsys, those in subfolders included; names that
// begin with a dot are skipped. A set without policies is valid and denies all.
// The error joins every *Problem found.
func Load(fsys fs.FS) (*Set, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(path.Base(name), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || path.Ext(name) != ".cedar":
			return nil
		}
		files[name], err = fs.ReadFile(fsys, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load policies: %w; check that the folder exists and can be read", err)
	}
	return Compile(files)
}

// Compile makes a Set of files by name. It never panics, whatever the bytes. The
// error joins every *Problem found; there is no set with some policies left out.
func Compile(files map[string][]byte) (*Set, error) {
	words, err := newVocabulary(schemaText)
	if err != nil {
		return nil, err
	}
	c := &compiler{named: map[string]Policy{}, set: &Set{
		digest: digest(files),
		files:  make(map[string][]byte, len(files)),
		byID:   map[string]int{},
		index:  newIndex(),
		words:  words,
	}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		src := bytes.Clone(files[name])
		c.set.files[name] = src
		c.file(name, src)
	}
	if err := joined(c.problems); err != nil {
		return nil, err
	}
	return c.set, nil
}

// digest covers sorted names and bytes, each with its length, so that no two
// different sets of files have one encoding.
func digest(files map[string][]byte) string {
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		field([]byte(name))
		field(files[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Digest names the content of the set, as "sha256:" and hexadecimal digits, over
// the names and bytes of its files in order.
func (s *Set) Digest() string { return s.digest }

// Policies returns all policies in the order of files and lines.
func (s *Set) Policies() []Policy { return slices.Clone(s.policies) }

// Policy returns the policy with the given @id.
func (s *Set) Policy(id string) (Policy, bool) {
	i, ok := s.byID[id]
	if !ok {
		return Policy{}, false
	}
	return s.policies[i], true
}

// where names a policy for a person.
func (s *Set) where(id string) string {
	p, ok := s.Policy(id)
	if !ok {
		return fmt.Sprintf("%q", id)
	}
	return fmt.Sprintf("%q (%s:%d)", id, p.File, p.Line)
}
