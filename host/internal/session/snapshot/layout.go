package snapshot

import (
	"encoding/binary"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// The keys of a session, after snapshot/tenant/session/ :
//
//	m/  manifests, by the number of the entry that ended the turn
//	p/  packs, by the number of the snapshot that they were written for, and digest
const (
	manifests = "m/"
	packs     = "p/"
)

// Prefixes returns the prefixes of all keys that a session has here, for whoever
// deletes it.
func Prefixes(tenant, session string) [][]byte {
	return [][]byte{[]byte("snapshot/" + tenant + "/" + session + "/")}
}

// home is where a session's snapshots are.
type home struct {
	*Keeper
	run    *host.Run // for the sealer
	prefix string
}

func (k *Keeper) home(tenant, session string) *home {
	return &home{k, &host.Run{Tenant: tenant, Session: session}, string(Prefixes(tenant, session)[0])}
}

func (h *home) under(kind string) []byte { return []byte(h.prefix + kind) }

func (h *home) manifestKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(h.under(manifests), seq)
}

// packKey holds the digest so that writing a pack again, even by a host that should no
// longer write, changes nothing.
func (h *home) packKey(seq uint64, digest string) []byte {
	return append(binary.BigEndian.AppendUint64(h.under(packs), seq), digest...)
}

// seqOf returns the number in a key of this session, 0 where there is none.
func (h *home) seqOf(key []byte) uint64 {
	at := len(h.prefix) + len(manifests)
	if len(key) < at+8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[at:])
}

// keys returns what begins with the kind's prefix, in order.
func (h *home) keys(tx store.Tx, kind string) (out [][]byte, err error) {
	for item, err := range tx.Scan(store.Query{Prefix: h.under(kind), KeysOnly: true}) {
		if err != nil {
			return nil, err
		}
		out = append(out, item.Key)
	}
	return out, nil
}
