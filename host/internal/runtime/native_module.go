package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// metered is a module as the native engine compiles it.
type metered struct {
	*prepare.Result
	info Info
	cost int64 // bytes of each instance beside its linear memory
}

// metered checks a module and makes it count its fuel and leave its data to the
// host, so that all of its state can be read and replaced.
func (e *native) metered(module []byte) (*metered, error) {
	p, err := e.prepare(module)
	if err != nil {
		return nil, err
	}
	result, err := prepare.Prepare(p.code, prepare.Options{Image: true, Table: maxTable})
	if err != nil {
		return nil, refuse("%w", err)
	}
	p.info.Prepared, p.info.NoImage = prepare.Version, result.Blocked
	cost := instanceCost + int64(p.elements)*elementCost //nolint:gosec // the tables were checked
	return &metered{result, p.info, cost}, nil
}

// What wazero allocates for an instance, as measured: stacks and bookkeeping, and
// an object for each element of a table. A Go guest has thousands of them.
const (
	instanceCost = 16 << 10
	elementCost  = 32
)

// digest identifies all that instances are made of.
func (m *metered) digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	writeSized(h, m.Code)
	for _, s := range m.Data {
		h.Write(binary.LittleEndian.AppendUint32(nil, s.Offset))
		writeSized(h, s.Data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// nativeModule is one loaded module over shared code.
type nativeModule struct {
	engine *native
	info   Info
	code   *code
	once   sync.Once
}

// Info implements Module.
func (m *nativeModule) Info() Info { return m.info }

// Close implements Module.
func (m *nativeModule) Close(ctx context.Context) error {
	m.once.Do(func() {
		m.engine.mu.Lock()
		delete(m.engine.open, m)
		m.engine.mu.Unlock()
		m.engine.release(ctx, m.code)
	})
	return nil
}

// use takes a share of the code for an instance.
func (m *nativeModule) use() error {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if _, ok := m.engine.open[m]; !ok {
		return fmt.Errorf("instantiate %s: the module is closed; load it again", m.info.Digest)
	}
	m.code.refs++
	return nil
}
