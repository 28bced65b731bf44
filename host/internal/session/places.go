package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A place is where in its journal a turn begins: the number of the entry that accepted
// its event. It is written when the turn starts, so that nobody has to read a long
// session from its beginning to see one turn of it.

func placePrefix(tenant, session string) []byte {
	return []byte("place/" + tenant + "/" + session + "/")
}

func placeOp(tenant, session string, turn int, seq uint64) store.Op {
	return store.Op{Key: placeKey(tenant, session, turn), Value: binary.BigEndian.AppendUint64(nil, seq)}
}

func placeKey(tenant, session string, turn int) []byte {
	return binary.BigEndian.AppendUint32(placePrefix(tenant, session), uint32(turn)) //nolint:gosec // turns count from 1
}

// place returns an entry that is not after the beginning of the turn: for a turn that
// has not started, that of the newest one before it that has. A fork has the places of
// what it shares from its parent.
func (s *Service) place(ctx context.Context, head host.Session, turn int) (uint64, error) {
	upTo := uint64(math.MaxUint64)
	for {
		at, err := s.placeIn(ctx, head, turn, upTo)
		if err != nil || at > 0 {
			return at, err
		}
		upTo = min(upTo, head.At)
		parent, err := s.head(ctx, head.Tenant, head.Parent)
		if head.At == 0 || err != nil { // there is none, or it was removed since: read from the beginning
			return 1, nil
		}
		head = parent
	}
}

// placeIn returns the newest of a session's own places up to a turn and an entry, 0 for
// none.
func (s *Service) placeIn(ctx context.Context, head host.Session, turn int, upTo uint64) (uint64, error) {
	var at uint64
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		q := store.Query{Prefix: placePrefix(head.Tenant, head.ID), From: placeKey(head.Tenant, head.ID, turn), Reverse: true}
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			if len(item.Value) != 8 {
				return fmt.Errorf("session %s: the place of a turn is damaged", head.ID)
			}
			if seq := binary.BigEndian.Uint64(item.Value); seq <= upTo {
				at = seq
				return nil
			}
		}
		return nil
	})
	return at, err
}

// turnOfID returns the turn that the id of a stream event names, 0 for none.
func turnOfID(id string) int {
	first, _, _ := strings.Cut(id, ".")
	n, err := strconv.ParseUint(first, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}
