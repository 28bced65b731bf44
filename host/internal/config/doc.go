// Package config reads vespiary.yaml, which with the policies folder is the only
// desired state of a host. A file is taken whole or not at all, and all that is
// wrong with it is reported at once, each with file, line and column.
//
// Secrets are not part of a configuration: it holds references to them, which are
// followed where the secret is used.
package config
