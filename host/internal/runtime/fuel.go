package runtime

import (
	"context"
	goruntime "runtime"
	"sync/atomic"

	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// Fuel is the account that guests draw from; the instances of one turn may share
// it. A unit is an entry into a function or a turn of a loop; copying memory in
// bulk costs by its length, whether the guest does it or has the host do it. It may
// be used by several goroutines.
type Fuel interface {
	// Draw books what was used since the last Draw of this instance, and returns
	// how much it may use before the next, at least 1. An instance never books
	// more than it was given, and at the end of a call it books the rest, where
	// what Draw returns counts for nothing. An error ends the guest: Call returns
	// it wrapped in a *TrapError, like an error of Host.
	Draw(used int64) (int64, error)
}

// fuelSlice is how much a guest uses before it yields: some ten microseconds, and a
// tenth of a second in one that chooses what is slow and costs little. Meanwhile no
// other goroutine gets its thread and no context ends it.
const fuelSlice = 20_000

// meter gives a guest its fuel and books what it uses. What an instance is given
// beyond a slice stays with the account, so that where a guest ends depends on
// the account alone and not on where its calls begin.
type meter struct {
	account Fuel // nil: without limit
	tank    api.MutableGlobal
	slice   int64        // given and not yet booked
	booked  atomic.Int64 // may be read at any time
}

// attach finds the guest's tank.
func (m *meter) attach(guest api.Module) {
	if m.tank == nil {
		m.tank = guest.ExportedGlobal(prepare.ExportFuel).(api.MutableGlobal)
	}
}

// begin fills the tank.
func (m *meter) begin() error {
	if err := m.draw(); err != nil {
		return err
	}
	m.tank.Set(api.EncodeI64(m.slice))
	return nil
}

// refill is for a guest whose tank is below zero by what it could not pay.
func (m *meter) refill() error {
	left := int64(m.tank.Get()) //nolint:gosec // an i64
	for left < 0 {
		if err := m.draw(); err != nil {
			return err
		}
		left += m.slice
	}
	m.tank.Set(api.EncodeI64(left))
	return nil
}

// draw books the slice, which is used up, and takes another one.
func (m *meter) draw() error {
	used := m.slice
	m.slice = 0
	m.booked.Add(used)
	if m.account == nil {
		m.slice = fuelSlice
		return nil
	}
	granted, err := m.account.Draw(used)
	if err == nil {
		m.slice = min(max(granted, 1), fuelSlice)
	}
	return err
}

// end books what a call has used of its last slice. That the account is empty
// now is for the next call to find out.
func (m *meter) end() {
	if m.tank == nil {
		return
	}
	used := m.slice - max(int64(m.tank.Get()), 0) //nolint:gosec // an i64
	m.slice = 0
	m.booked.Add(used)
	if m.account != nil && used > 0 {
		_, _ = m.account.Draw(used)
	}
}

// bytesPerUnit is how much the host moves for a guest for a unit of fuel: as much as
// the guest itself (package prepare).
const bytesPerUnit = 1 << 10

// spend takes fuel for what the host does for the guest, because a guest that has the
// host work could go on for ever between two yields of its own. Every function that
// calls one has a probe, so that the tank is there.
func (i *nativeInstance) spend(units uint64) error {
	if units == 0 || i.meter.tank == nil {
		return nil
	}
	left := int64(i.meter.tank.Get()) - int64(units) //nolint:gosec // units are of memory, of which there are 32 bits
	i.meter.tank.Set(api.EncodeI64(left))
	if left >= 0 {
		return nil
	}
	return i.yield(i.ctx)
}

// pay is spend for functions that cannot return an error.
func (i *nativeInstance) pay(units uint64) {
	if err := i.spend(units); err != nil {
		i.abort(err)
	}
}

// yield implements prepare.MeterYield, which a guest calls when its tank is
// empty: time for others, and to look whether it may go on.
func yield(ctx context.Context, i *nativeInstance, guest api.Module, _ []uint64) error {
	i.meter.attach(guest) // a start function may run before the guest is known
	return i.yield(ctx)
}

func (i *nativeInstance) yield(ctx context.Context) error {
	goruntime.Gosched()
	if err := ctx.Err(); err != nil {
		return err
	}
	return i.meter.refill()
}
