package wire

import (
	"net/http"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
)

// verdict is what a fault means to the caller.
type verdict struct {
	code      abi.Code
	retryable bool   // the caller may try again later
	transient bool   // trying again at once, after a pause, is worth it
	advice    string // what a person can do
	mute      bool   // leave out the server's words: they may repeat a part of the key
}

// rule gives a verdict to the faults it matches. The first rule that does wins.
type rule struct {
	statuses []int
	kinds    []string
	words    []string // any of them in the message, in lower case
	verdict  verdict
}

var rules = []rule{
	{
		kinds: []string{"context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded"},
		words: []string{
			"maximum context length", "prompt is too long", "exceeds the available context size",
			"context length exceeded", "exceed context limit", "context window",
		},
		verdict: verdict{code: abi.CodeInvalid, advice: "the conversation is longer than the model can read: " +
			"shorten it or configure a model with a larger context"},
	},
	{
		kinds: []string{"insufficient_quota", "billing_error", "billing_hard_limit_reached"}, statuses: []int{402},
		words:   []string{"credit balance is too low"},
		verdict: verdict{code: abi.CodeRateLimited, advice: "the account has no quota left: check its plan and billing"},
	},
	{
		statuses: []int{http.StatusUnauthorized}, kinds: []string{"authentication_error", "invalid_api_key"},
		verdict: verdict{code: abi.CodeUnavailable, mute: true, advice: "the provider refuses the key"},
	},
	{
		statuses: []int{http.StatusForbidden}, kinds: []string{"permission_error"},
		verdict: verdict{code: abi.CodeUnavailable, advice: "the key may not use this model: " +
			"check the account's permissions"},
	},
	{
		statuses: []int{http.StatusNotFound}, kinds: []string{"not_found_error", "model_not_found"},
		verdict: verdict{code: abi.CodeNotFound, advice: "check model and base_url in the configuration"},
	},
	{
		statuses: []int{http.StatusRequestTimeout}, kinds: []string{"timeout_error"},
		verdict: verdict{code: abi.CodeTimeout, retryable: true, transient: true, advice: "try again later"},
	},
	{
		statuses: []int{http.StatusTooManyRequests}, kinds: []string{"rate_limit_error", "rate_limit_exceeded"},
		verdict: verdict{
			code: abi.CodeRateLimited, retryable: true, transient: true,
			advice: "try again later or raise the account's rate limit",
		},
	},
	{
		statuses: []int{http.StatusRequestEntityTooLarge}, kinds: []string{"request_too_large"},
		verdict: verdict{code: abi.CodeInvalid, advice: "the request is too large: send less text or fewer images"},
	},
	{
		statuses: []int{http.StatusNotImplemented},
		verdict:  verdict{code: abi.CodeUnavailable, advice: "the server does not offer this call: check base_url"},
	},
	{
		kinds:   []string{kindMalformed},
		verdict: verdict{code: abi.CodeUnavailable, retryable: true, advice: "check that base_url is a server of this dialect"},
	},
	{
		statuses: []int{http.StatusConflict, http.StatusTooEarly},
		kinds:    []string{kindTruncated, "overloaded_error", "api_error", "server_error", "internal_server_error"},
		verdict:  verdict{code: abi.CodeUnavailable, retryable: true, transient: true, advice: "try again later"},
	},
	{
		kinds:   []string{"invalid_request_error", "BadRequestError", "invalid_request"},
		verdict: verdict{code: abi.CodeInvalid, advice: "the provider does not accept the request as it is"},
	},
}

// judge classifies a fault. What no rule knows is the request's fault for an
// HTTP status below 500, and a passing trouble of the server otherwise.
func judge(f *Fault) verdict {
	message := strings.ToLower(f.Message)
	for _, r := range rules {
		if r.matches(f, message) {
			return r.verdict
		}
	}
	if f.Status >= 300 && f.Status < 500 {
		return verdict{code: abi.CodeInvalid, advice: "the provider does not accept the request as it is"}
	}
	return verdict{code: abi.CodeUnavailable, retryable: true, transient: true, advice: "try again later"}
}

// matches compares words last and with care, since servers phrase freely.
func (r rule) matches(f *Fault, message string) bool {
	if slices.Contains(r.statuses, f.Status) || slices.Contains(r.kinds, f.Kind) {
		return true
	}
	// A 5xx page may speak of anything: words count for refusals only.
	return f.Status < 500 && f.Status != http.StatusTooManyRequests &&
		slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(message, w) })
}
