package journal

import "context"

// Hasher returns what Log.Hash of the session's writer returns, for a reader that runs
// the session again beside it. The function is safe for concurrent use.
func (j *Journals) Hasher(ctx context.Context, tenant, session string) (func(request []byte) string, error) {
	d, err := j.keys.get(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	return func(request []byte) string { return sum(d.hashes, ofPayload, request).String() }, nil
}
