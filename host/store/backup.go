package store

import (
	"context"
	"io"
	"time"
)

// Backuper is a Store that can be copied while it is in use. Whoever copies a store
// asks for it: not every engine has it.
type Backuper interface {
	// Backup writes everything that was committed before the call to w, and nothing
	// that is committed after it, while others go on. It ends with an error when ctx
	// ends, w fails or the store closes; what w holds then is refused as cut off.
	Backup(ctx context.Context, w io.Writer) (Backed, error)
}

// Backed says what a backup holds.
type Backed struct {
	// Revision is the newest one in the backup.
	Revision Revision
	// Created is the time when the backup began, or zero if nobody knew it.
	Created time.Time
	Keys    int64
	// Bytes is the length of the backup.
	Bytes int64
	// Digest is "sha256:" and the SHA-256 of the whole backup in hexadecimal. Kept
	// apart, it shows that the backup is still the one that was made; the backup's
	// own checksums only show that it is whole.
	Digest string
}
