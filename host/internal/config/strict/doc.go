// Package strict decodes YAML that people write: nothing is guessed and nothing
// is dropped. An unknown key, a key given twice, a value of another type, an
// anchor or a tag is a problem with its line and column, what was expected and
// the nearest known key, and all problems are reported at once.
package strict
