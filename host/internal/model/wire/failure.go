package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// failure is one failed attempt.
type failure struct {
	verdict verdict
	what    string
	cause   error
	stopped bool // the caller's delta ended it: cause is its error
	wait    time.Duration
	waits   bool // the server said how long to wait
}

// callError is an *abi.Error that still answers errors.Is for what caused it.
type callError struct {
	said  *abi.Error
	cause error
}

func (e *callError) Error() string { return e.said.Error() }

func (e *callError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.said}
	}
	return []error{e.said, e.cause}
}

// fail turns a failure into the error that callers see.
func (c *Client) fail(f *failure) error {
	message := c.cfg.Provider + " model " + c.cfg.Model + ": " + f.what
	if f.verdict.advice != "" {
		message += "; " + f.verdict.advice
	}
	return &callError{
		said:  &abi.Error{Code: f.verdict.code, Message: c.scrub(message), Retryable: f.verdict.retryable},
		cause: f.cause,
	}
}

// Invalid is the error for a request that cannot be put into a dialect.
func (c *Client) Invalid(what string) error {
	return c.fail(&failure{verdict: verdict{code: abi.CodeInvalid}, what: what})
}

// scrub takes every secret out of text that may repeat what was sent.
func (c *Client) scrub(text string) string {
	text = c.cfg.Key.scrub(text)
	for _, h := range c.cfg.Headers {
		text = h.scrub(text)
	}
	return text
}

// faulty words a fault. The fault itself is not kept as the cause: its message may
// repeat what was sent.
func (c *Client) faulty(f *Fault) *failure {
	v := judge(f)
	said := *f
	if v.mute {
		said.Message = ""
		v.advice += "; " + c.keyAdvice()
	}
	return &failure{verdict: v, what: said.Error()}
}

// keyAdvice names the reference of the key, which is what a person can look up.
func (c *Client) keyAdvice() string {
	switch {
	case c.cfg.Key.Ref() != "":
		return "check what " + c.cfg.Key.Ref() + " holds"
	case c.cfg.KeyHint != "":
		return `set key: "` + c.cfg.KeyHint + `" for the model in the configuration`
	default:
		return "set key for the model in the configuration"
	}
}

// ended is the failure of a context that is over; last is what was being retried.
func ended(ctx context.Context, last *failure) *failure {
	out := &failure{cause: ctx.Err()}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		out.verdict = verdict{code: abi.CodeTimeout, retryable: true, advice: "raise the time limit or ask for a shorter answer"}
		out.what = "no answer within the time limit"
	} else {
		out.verdict = verdict{code: abi.CodeCancelled}
		out.what = "the request was cancelled"
	}
	if last != nil {
		out.what += " while waiting to try again after: " + last.what
	}
	return out
}

// untrusted reports whether the server's certificate was not accepted.
func untrusted(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host)
}

// reason says what went wrong without the address, whose query may hold a key.
func reason(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return clean(err.Error())
}

// Ended is the error of a call whose context is over, for providers without a
// Client.
func Ended(ctx context.Context, provider, model string) error {
	c := Client{cfg: Config{Provider: provider, Model: model}}
	return c.fail(ended(ctx, nil))
}
