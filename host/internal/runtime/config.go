package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"
)

// check reports what an instance of a module with this Info lacks.
func (c Config) check(info Info) error {
	switch {
	case c.Clock == nil:
		return errors.New("instantiate: Config.Clock is missing")
	case c.Random == nil:
		return errors.New("instantiate: Config.Random is missing")
	case c.Host == nil && len(info.Capabilities) > 0:
		return fmt.Errorf("instantiate: the module imports %s and Config.Host is missing", info.Capabilities[0])
	}
	return nil
}

func (c Config) world(faults *slog.Logger) world {
	return world{host: c.Host, log: c.Log, faults: faults}
}

// moduleConfig gives a guest its clock, randomness and output, and nothing else.
// Sleep runs under the context of the call under way, and calls end when that is
// done, because a guest that woke up would go on for a while. Pay is told what
// printing costs, in units of fuel.
func (c Config) moduleConfig(current func() context.Context, end func(error), pay func(units uint64)) wazero.ModuleConfig {
	sleep := c.Sleep
	if sleep == nil {
		sleep = sleepReal
	}
	return wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithRandSource(c.Random).
		WithWalltime(func() (int64, int32) {
			t := c.Clock()
			return t.Unix(), int32(t.Nanosecond()) //nolint:gosec // below a billion
		}, sys.ClockResolution(time.Microsecond)).
		WithNanotime(func() int64 { return c.Clock().UnixNano() }, sys.ClockResolution(time.Nanosecond)).
		WithNanosleep(func(ns int64) {
			ctx := current()
			if sleep(ctx, time.Duration(ns)); ctx.Err() != nil {
				end(ctx.Err())
			}
		}).
		WithOsyield(goruntime.Gosched).
		WithStdout(&lineLogger{level: slog.LevelInfo, log: c.Log, pay: pay}).
		WithStderr(&lineLogger{level: slog.LevelWarn, log: c.Log, pay: pay})
}

func sleepReal(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lineLogger passes what a guest prints to its log, a line at a time. A line
// without end is passed on in pieces. A guest pays for each line whether it is
// passed on or not, so that its fuel does not depend on who listens.
type lineLogger struct {
	level slog.Level
	log   func(slog.Level, string)
	pay   func(units uint64)
	line  []byte
}

const maxLine = 8 << 10

// Write implements io.Writer.
func (l *lineLogger) Write(b []byte) (int, error) {
	n := len(b)
	l.pay(1 + uint64(n)/bytesPerUnit)
	for len(b) > 0 {
		// No more than what fits is searched, or a long line would be searched again
		// for each of its pieces.
		near := b[:min(len(b), maxLine-len(l.line))]
		part, _, ended := bytes.Cut(near, []byte("\n"))
		rest := b[len(part):]
		if ended {
			rest = rest[1:]
		}
		l.line = append(l.line, part...)
		ended = ended || len(l.line) == maxLine
		if ended {
			l.pay(1)
			if l.log != nil {
				l.log(l.level, string(l.line))
			}
			l.line = l.line[:0]
		}
		b = rest
	}
	return n, nil
}
