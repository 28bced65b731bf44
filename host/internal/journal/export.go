package journal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vespiary/vespiary/host"
)

// Summary tells what an exported file holds.
type Summary struct {
	Session string    // that it is an export of
	Root    string    // digest of the file
	Open    host.Open // what the session runs; after an import, that of the new session
	Entries uint64
	Turns   int
	Epoch   uint32 // the highest one
}

// Export writes the session as one file that any host can import: its entries as a reader
// sees them, with their payloads in clear and without its images. The file begins and ends
// with frames that zstd skips, and ends with a digest over all of it. Entries that are
// added meanwhile are not in it.
func (j *Journals) Export(ctx context.Context, tenant, session string, w io.Writer) error {
	h, err := j.head(ctx, tenant, session)
	if err != nil {
		return notFound(session, err)
	}
	newest, err := j.newest(ctx, tenant, session)
	if err != nil {
		return err
	}
	to := h.At
	if newest != nil {
		to = newest.Seq
	}
	d, err := j.keys.get(ctx, tenant, session)
	if errors.Is(err, ErrErased) {
		return erased(session)
	}
	if err != nil {
		return err
	}
	if d.hash == nil {
		return host.Errorf(host.ErrConflict, "export session %s: it began under an earlier version, whose requests can be compared on this host only", session)
	}
	f, err := newFileWriter(w, fileHead{Session: session, HashKey: d.hash})
	if err != nil {
		return fmt.Errorf("export session %s: %w", session, err)
	}
	if err := j.export(ctx, tenant, session, to, f); err != nil {
		return err
	}
	return f.close()
}

func erased(session string) error {
	return host.Errorf(host.ErrConflict, "export session %s: its payloads were erased, so that nothing could run from the file", session)
}

func (j *Journals) export(ctx context.Context, tenant, session string, to uint64, f *fileWriter) error {
	defer f.zip.Close() //nolint:errcheck // after an error the file is of no use; without one it was closed
	for e, err := range j.Read(ctx, tenant, session, 1) {
		if err != nil {
			return err
		}
		if e.Seq > to {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Kind == host.EntrySnapshot {
			continue // the importing host runs the turns again
		}
		payload, err := j.Payload(ctx, tenant, e)
		if errors.Is(err, ErrErased) {
			return erased(session)
		}
		if err == nil {
			err = f.add(e, payload)
		}
		if err != nil {
			return fmt.Errorf("export session %s, entry %d: %w", session, e.Seq, err)
		}
	}
	return nil
}

// VerifyExport reads a file that Export wrote and tells what it holds, or why it is not
// whole and unchanged. It needs no host.
func VerifyExport(r io.Reader) (Summary, error) {
	sum, _, err := survey(r, func(*fileEntry) error { return nil })
	return sum, err
}

// survey reads a file to its end and calls each with its entries.
func survey(r io.Reader, each func(*fileEntry) error) (Summary, fileHead, error) {
	f, h, err := newFileReader(r)
	if err != nil {
		return Summary{}, h, err
	}
	defer f.close()
	sum := Summary{Session: h.Session}
	for {
		e, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = each(e)
		}
		if err != nil {
			return Summary{}, h, err
		}
		sum.Turns, sum.Epoch = max(sum.Turns, e.Turn), max(sum.Epoch, e.Epoch)
	}
	if f.count == 0 {
		return Summary{}, h, fmt.Errorf("%w: it has no entries", errFile)
	}
	root, err := f.root()
	sum.Root, sum.Entries, sum.Open = digestOf(root), f.count, f.open
	return sum, h, err
}
