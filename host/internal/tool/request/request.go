// Package request reads the requests of host calls, for the capabilities below
// host/internal/tool.
package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// Decode decodes the call's request. An unknown field is refused, so that a
// misspelt restriction is never silently dropped.
func Decode(c *host.Call, into any) error {
	dec := json.NewDecoder(bytes.NewReader(c.Request))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return Invalid(c, "%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Invalid(c, "the request holds more than one JSON value")
	}
	return nil
}

// Invalid is the result of a call whose request does not have the form it needs.
func Invalid(c *host.Call, format string, args ...any) *abi.Error {
	return Failed(c, abi.CodeInvalid, format, args...)
}

// Failed is the result of a call that could not be done, beginning with its name.
func Failed(c *host.Call, code abi.Code, format string, args ...any) *abi.Error {
	return &abi.Error{Code: code, Message: c.Name + ": " + fmt.Sprintf(format, args...)}
}
