package session

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// spending counts what the host spent on the current UTC day. Every turn with a cost
// leaves a key under the day, so the sum survives a restart.
type spending struct {
	mu     sync.Mutex
	day    string
	micros int64
}

const spendingPrefix = "spent/"

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (p *spending) add(micros int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roll(now)
	p.micros += micros
}

func (p *spending) today(now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roll(now)
	return p.micros
}

func (p *spending) roll(now time.Time) {
	if d := dayOf(now); d != p.day {
		p.day, p.micros = d, 0
	}
}

// ops returns the key that a turn's cost leaves.
func (p *spending) ops(head host.Session, turn int, micros int64, now time.Time) []store.Op {
	if micros == 0 {
		return nil
	}
	k := spendingPrefix + dayOf(now) + "/" + head.Tenant + "/" + head.ID + "/" + strconv.Itoa(turn)
	return []store.Op{{Key: []byte(k), Value: strconv.AppendInt(nil, micros, 10)}}
}

// spend counts what was spent beside any turn.
func (s *Service) spend(ctx context.Context, head host.Session, u abi.Usage) {
	if u.CostMicros == 0 {
		return
	}
	now := s.opt.Now()
	s.spent.add(u.CostMicros, now)
	k := spendingPrefix + dayOf(now) + "/" + head.Tenant + "/" + head.ID + "/" + newID(now)
	op := store.Op{Key: []byte(k), Value: strconv.AppendInt(nil, u.CostMicros, 10)}
	if _, err := s.opt.Store.Commit(context.WithoutCancel(ctx), store.Batch{Ops: []store.Op{op}}); err != nil {
		s.opt.Log.ErrorContext(ctx, "what a replay spent is forgotten when the host restarts", "session", head.ID, "error", err)
	}
}

// loadSpending sums up the current day and drops the keys of days before.
func (s *Service) loadSpending(ctx context.Context) error {
	now := s.opt.Now()
	today := spendingPrefix + dayOf(now) + "/"
	var old []store.Op
	var micros int64
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: []byte(spendingPrefix)}) {
			if err != nil {
				return err
			}
			if !strings.HasPrefix(string(item.Key), today) {
				old = append(old, store.Op{Key: item.Key})
				continue
			}
			n, err := strconv.ParseInt(string(item.Value), 10, 64)
			if err != nil {
				return err
			}
			micros += n
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.spent.add(micros, now)
	for len(old) > 0 {
		n := min(len(old), 1000)
		if _, err := s.opt.Store.Commit(ctx, store.Batch{Ops: old[:n]}); err != nil {
			return err
		}
		old = old[n:]
	}
	return nil
}
