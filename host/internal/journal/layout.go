package journal

import "encoding/binary"

// The keys of a session, all beginning with a letter and the tenant:
//
//	j  entries, by sequence number
//	h  head: where the session forked and what is hidden; without it there is no session
//	f  fence: which acquisition may write
//	b  chunks of payloads and of their parts, by digest and number
//	k  the session's wrapped keys
//	i  mark of an import under way
func key(kind byte, tenant, session string) []byte {
	k := make([]byte, 0, len(tenant)+len(session)+16)
	k = append(k, kind, '/')
	k = append(append(k, tenant...), '/')
	return append(append(k, session...), '/')
}

func entryKey(tenant, session string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key('j', tenant, session), seq)
}

func chunkKey(tenant, session, digest string, n int) []byte {
	k := append(key('b', tenant, session), digest...)
	return binary.BigEndian.AppendUint16(append(k, '/'), uint16(n)) //nolint:gosec // payloads have at most maxPayload/chunkSize chunks
}

// Prefixes returns the key prefixes that hold all of a session's own state here,
// for whoever deletes it. The key itself goes first: it makes the rest unreadable.
func Prefixes(tenant, session string) [][]byte {
	var out [][]byte
	for _, kind := range []byte("kjhfb") {
		out = append(out, key(kind, tenant, session))
	}
	return out
}
