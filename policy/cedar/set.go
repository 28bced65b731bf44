package cedar

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
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
	actions  []Action // that it was compiled with
}

// Load compiles all *.cedar files of fsys, those in subfolders included; names that
// begin with a dot are skipped. A set without policies is valid and denies all.
// The schema that they are checked against has actions besides its own, in any order. The
// error joins every *Problem found.
func Load(fsys fs.FS, actions ...Action) (*Set, error) {
	files, err := Files(fsys)
	if err != nil {
		return nil, err
	}
	return Compile(files, actions...)
}

// Files reads the files of fsys that Load compiles, by name.
func Files(fsys fs.FS) (map[string][]byte, error) {
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
	return files, nil
}

// Compile makes a Set of files by name, checked as Load does. It never panics, whatever
// the bytes. The error joins every *Problem found; there is no set with some policies left
// out.
func Compile(files map[string][]byte, actions ...Action) (*Set, error) {
	words, err := vocabularyOf(actions)
	if err != nil {
		return nil, err
	}
	set, err := words.compile(files)
	if err != nil {
		return nil, err
	}
	set.actions = slices.Clone(actions)
	return set, nil
}

// compile makes a Set that shares the vocabulary of others.
func (v *vocabulary) compile(files map[string][]byte) (*Set, error) {
	c := &compiler{named: map[string]Policy{}, checkers: newCheckers(v), set: &Set{
		digest: digest(files, v),
		files:  make(map[string][]byte, len(files)),
		byID:   map[string]int{},
		index:  newIndex(),
		words:  v,
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

// digest covers sorted names and bytes, each with its length, and the generated part of
// the schema if there are actions in it: one file after another makes an even number of
// fields, so that no two different sets have one encoding.
func digest(files map[string][]byte, v *vocabulary) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		field(h, []byte(name))
		field(h, files[name])
	}
	if len(v.generated) > 0 {
		field(h, []byte(v.text))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func field(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// Digest names the content of the set, as "sha256:" and hexadecimal digits: the names
// and bytes of its files in order, and the declarations of the actions it was compiled
// with, since a policy may mean something else when a tool's arguments change.
func (s *Set) Digest() string { return s.digest }

// Schema returns the schema that the set was checked against, in Cedar syntax: the fixed
// part, and the actions that it was compiled with in the order of their names.
func (s *Set) Schema() string { return schemaText + s.words.text }

// Files returns what the set was compiled from, by name.
func (s *Set) Files() map[string][]byte { return maps.Clone(s.files) }

// Actions returns the actions that the set was compiled with. From Files and Actions,
// Compile makes the same set again.
func (s *Set) Actions() []Action { return slices.Clone(s.actions) }

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
