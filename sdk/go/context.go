package vespiary

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// Context is a guest's way to its host for the length of one call of the guest:
// after that its calls end with abi.CodeCancelled. It is for one goroutine:
// parallel work goes through Go and All, which keep the order of host calls the
// same when the host runs a turn again.
type Context struct {
	host    guest.Host // nil in Wasm
	timeout time.Duration
	lanes   *lanes
	// via takes the place of send inside a function run by Go. It is a field
	// so that call_start is imported only where Go is used.
	via func(k capability, request []byte) abi.Result
}

func newContext(h guest.Host) *Context {
	ls := &lanes{}
	ls.root = &Context{host: h, lanes: ls}
	return &Context{host: h, lanes: ls}
}

// WithTimeout returns a context whose host calls each end with abi.CodeTimeout
// after d, rounded up to milliseconds. A d of 0 or less removes the limit.
func (c *Context) WithTimeout(d time.Duration) *Context {
	limited := *c
	limited.timeout = d
	return &limited
}

// do makes one host call and decodes its result into out, unless out is nil.
func (c *Context) do(k capability, request, out any) error {
	if c.lanes.closed {
		return late(k)
	}
	body, err := c.encode(request)
	if err != nil {
		return fault(abi.CodeInvalid, "%s: the request does not encode: %v", k.name, err)
	}
	var result abi.Result
	if c.via != nil {
		result = c.via(k, body)
	} else if err := json.Unmarshal(c.send(k, body), &result); err != nil {
		return fault(abi.CodeInternal, "%s: the host's answer does not decode: %v", k.name, err)
	}
	return unpack(k, result, out)
}

func (c *Context) encode(request any) ([]byte, error) {
	body, err := json.Marshal(request)
	if err != nil || c.timeout <= 0 {
		return body, err
	}
	ms := (c.timeout + time.Millisecond - 1) / time.Millisecond
	return insert(body, abi.KeyTimeout, strconv.FormatInt(int64(ms), 10)), nil
}

// insert puts a member in front of those of a JSON object.
func insert(object []byte, key, value string) []byte {
	member := `{"` + key + `":` + value
	rest := bytes.TrimPrefix(object, []byte("{"))
	if !bytes.Equal(rest, []byte("}")) {
		member += ","
	}
	return append([]byte(member), rest...)
}

func unpack(k capability, r abi.Result, out any) error {
	if r.Error != nil {
		return r.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.OK, out); err != nil {
		return fault(abi.CodeInternal, "%s: the host's result does not decode: %v", k.name, err)
	}
	return nil
}

func fault(code abi.Code, format string, args ...any) *abi.Error {
	return &abi.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Debugf writes a line to the host's log, as do Infof, Warnf and Errorf.
func (c *Context) Debugf(format string, args ...any) { c.debug(fmt.Sprintf(format, args...)) }

// Infof writes a line to the host's log at level info.
func (c *Context) Infof(format string, args ...any) { c.info(fmt.Sprintf(format, args...)) }

// Warnf writes a line to the host's log at level warn.
func (c *Context) Warnf(format string, args ...any) { c.warn(fmt.Sprintf(format, args...)) }

// Errorf writes a line to the host's log at level error.
func (c *Context) Errorf(format string, args ...any) { c.error(fmt.Sprintf(format, args...)) }
