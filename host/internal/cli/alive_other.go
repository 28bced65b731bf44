//go:build !unix

package cli

// alive cannot be told here; the closed port then tells that a host is gone.
func alive(pid int) bool { return pid > 0 }
