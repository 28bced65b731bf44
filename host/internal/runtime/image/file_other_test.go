//go:build !linux

package image

import "testing"

func blind(tb testing.TB, content []byte) *Base {
	tb.Helper()
	return mapped(tb, content)
}
