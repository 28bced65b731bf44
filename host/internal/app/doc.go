// Package app joins the parts of the host: it is the only package that knows all of
// them. Each part names the small interface it needs; the adapters here fit one
// part to another's.
package app
