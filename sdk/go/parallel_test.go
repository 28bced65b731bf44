package vespiary_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// fetcher answers the address with itself in upper case, and "bad" with an error.
func fetcher(t *testing.T) *vespiarytest.Host {
	t.Helper()
	h := vespiarytest.New(t)
	vespiarytest.Answer(h, abi.CallHTTPFetch, func(r abi.HTTPRequest) (abi.HTTPResponse, error) {
		if r.URL == "bad" {
			return abi.HTTPResponse{}, denied
		}
		return abi.HTTPResponse{Status: 200, Body: strings.ToUpper(r.URL)}, nil
	})
	return h
}

func fetch(c *vespiary.Context, url string) (string, error) {
	r, err := c.Fetch(abi.HTTPRequest{URL: url})
	return r.Body, err
}

// twice makes a second call that depends on the first.
func twice(c *vespiary.Context, url string) (string, error) {
	first, err := fetch(c, url)
	if err != nil {
		return "", err
	}
	second, err := fetch(c, "after "+first)
	return first + "," + second, err
}

func names(h *vespiarytest.Host) string {
	var out []string
	for _, c := range h.Calls() {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

func TestAll(t *testing.T) {
	for _, newest := range []bool{false, true} {
		t.Run(fmt.Sprintf("newest first %v", newest), func(t *testing.T) {
			h := fetcher(t)
			h.Newest = newest
			run(h, func(c *vespiary.Context) error {
				values, errs := vespiary.All(c, []string{"a", "bad", "c"}, fetch)
				if diff := cmp.Diff([]string{"A", "", "C"}, values); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if errs[0] != nil || errs[2] != nil || !errors.Is(errs[1], &abi.Error{Code: abi.CodeDenied}) {
					t.Errorf("errors are %v", errs)
				}
				return nil
			})
			if got, want := names(h)[:len("call_start http_fetch call_start http_fetch call_start http_fetch call_wait")], "call_start http_fetch call_start http_fetch call_start http_fetch call_wait"; got != want {
				t.Errorf("the calls are %s, want all started before the first wait", names(h))
			}
		})
	}
}

func TestAllOfNothing(t *testing.T) {
	h := vespiarytest.New(t)
	run(h, func(c *vespiary.Context) error {
		if values, errs := vespiary.All(c, nil, fetch); len(values)+len(errs) != 0 {
			t.Errorf("got %v, %v", values, errs)
		}
		return nil
	})
	if got := h.Calls(); len(got) != 0 {
		t.Errorf("nothing to do made the calls %s", got)
	}
}

func TestGoRunsSeveralCalls(t *testing.T) {
	h := fetcher(t)
	h.Newest = true
	run(h, func(c *vespiary.Context) error {
		a := vespiary.Go(c, func(c *vespiary.Context) (string, error) { return twice(c, "a") })
		b := vespiary.Go(c.WithTimeout(time.Second), func(c *vespiary.Context) (string, error) { return twice(c, "b") })
		between, err := fetch(c, "direct")
		if between != "DIRECT" || err != nil {
			t.Errorf("a direct call between gives %q, %v", between, err)
		}
		for range 2 { // a Future may be waited for again
			if got, err := a.Wait(); got != "A,AFTER A" || err != nil {
				t.Errorf("a is %q, %v", got, err)
			}
		}
		if got, err := b.Wait(); got != "B,AFTER B" || err != nil {
			t.Errorf("b is %q, %v", got, err)
		}
		return nil
	})
	var limited int
	for _, c := range h.Calls(abi.CallHTTPFetch) {
		if strings.HasPrefix(string(c.Request), `{"$timeout_ms":1000,`) {
			limited++
		}
	}
	if limited != 2 {
		t.Errorf("%d calls carry the limit of the context that Go was given, want 2", limited)
	}
}

func TestGoWithoutCalls(t *testing.T) {
	run(vespiarytest.New(t), func(c *vespiary.Context) error {
		if got, err := vespiary.Go(c, func(*vespiary.Context) (int, error) { return 3, nil }).Wait(); got != 3 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		_, err := vespiary.Go(c, func(*vespiary.Context) (int, error) { panic("oh") }).Wait()
		if !errors.Is(err, &abi.Error{Code: abi.CodeInternal}) {
			t.Errorf("a panic is %v", err)
		}
		return nil
	})
}

func TestGoNests(t *testing.T) {
	h := fetcher(t)
	run(h, func(c *vespiary.Context) error {
		outer := vespiary.Go(c, func(c *vespiary.Context) (string, error) {
			values, errs := vespiary.All(c, []string{"x", "y"}, twice)
			return strings.Join(values, " "), errors.Join(errs...)
		})
		other := vespiary.Go(c, func(c *vespiary.Context) (string, error) { return twice(c, "z") })
		if got, err := outer.Wait(); got != "X,AFTER X Y,AFTER Y" || err != nil {
			t.Errorf("the outer one is %q, %v", got, err)
		}
		if got, err := other.Wait(); got != "Z,AFTER Z" || err != nil {
			t.Errorf("the other one is %q, %v", got, err)
		}
		return nil
	})
}

func TestGoWaitsForItself(t *testing.T) {
	run(fetcher(t), func(c *vespiary.Context) error {
		var f *vespiary.Future[string]
		f = vespiary.Go(c, func(c *vespiary.Context) (string, error) {
			if _, err := fetch(c, "a"); err != nil {
				return "", err
			}
			return f.Wait()
		})
		if _, err := f.Wait(); !errors.Is(err, &abi.Error{Code: abi.CodeInternal}) {
			t.Errorf("got %v", err)
		}
		return nil
	})
}

// A call that nothing waits for ends with the turn, and its function with it.
func TestGoIsCancelledAtTheEnd(t *testing.T) {
	var err error
	run(fetcher(t), func(c *vespiary.Context) error {
		vespiary.Go(c, func(c *vespiary.Context) (string, error) {
			_, err = fetch(c, "a")
			return "", err
		})
		return nil
	})
	if !errors.Is(err, &abi.Error{Code: abi.CodeCancelled}) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestGoWhereTheHostRefuses(t *testing.T) {
	for _, name := range []string{abi.CallStart, abi.CallWait} {
		t.Run(name, func(t *testing.T) {
			h := fetcher(t)
			vespiarytest.Answer(h, name, func(struct{}) (struct{}, error) { return struct{}{}, denied })
			run(h, func(c *vespiary.Context) error {
				_, errs := vespiary.All(c, []string{"a", "b"}, fetch)
				for _, err := range errs {
					if !errors.Is(err, &abi.Error{Code: abi.CodeDenied}) {
						t.Errorf("got %v", err)
					}
				}
				return nil
			})
		})
	}
}

// A turn that is run again must make the same host calls, byte for byte.
func TestGoMakesTheSameCallsAgain(t *testing.T) {
	var first []vespiarytest.Call
	for i := range 20 {
		h := fetcher(t)
		h.Newest = true
		run(h, func(c *vespiary.Context) error {
			_, errs := vespiary.All(c, []string{"a", "b", "c", "d", "e", "f"}, twice)
			return errors.Join(errs...)
		})
		if i == 0 {
			first = h.Calls()
			continue
		}
		if diff := cmp.Diff(first, h.Calls()); diff != "" {
			t.Fatalf("run %d: -first +again:\n%s", i, diff)
		}
	}
}
