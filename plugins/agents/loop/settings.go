package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vespiary/vespiary/abi"
)

// settings are the agent's options in the configuration. A limit of 0 is none.
type settings struct {
	MaxTokens   int64   `json:"max_tokens"`   // input and output of a turn's model calls
	MaxSeconds  float64 `json:"max_seconds"`  // of a turn, until the model is asked for its last answer
	Window      int     `json:"window"`       // earlier messages that the model sees
	WindowChars int     `json:"window_chars"` // bytes that the model sees; earlier turns have at most half of them

	maxSteps int // model calls of a turn
}

func readSettings(b abi.Binding) (settings, error) {
	s := settings{Window: 100, WindowChars: 240_000, maxSteps: 16}
	if b.MaxSteps > 0 {
		s.maxSteps = b.MaxSteps
	}
	if len(b.Options) > 0 {
		d := json.NewDecoder(bytes.NewReader(b.Options))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return s, invalid(b, err.Error())
		}
	}
	if s.MaxTokens < 0 || s.MaxSeconds < 0 || s.Window < 1 || s.WindowChars < 1 {
		return s, invalid(b, "max_tokens and max_seconds must not be negative, window and window_chars must be positive")
	}
	return s, nil
}

func invalid(b abi.Binding, why string) error {
	return &abi.Error{Code: abi.CodeInvalid, Message: fmt.Sprintf("options of agent %s: %s", b.Name, why)}
}
