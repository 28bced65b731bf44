package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// client speaks to whichever host runs now, and asks again until one answers.
type client struct {
	key  string
	http *http.Client

	mu  sync.Mutex
	url string
}

func newClient(key string) *client {
	return &client{key: key, http: &http.Client{Timeout: 20 * time.Second}}
}

func (c *client) to(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.url = url
	c.http.CloseIdleConnections()
}

func (c *client) base() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.url
}

// answer is a response that was received whole.
type answer struct {
	status int
	body   []byte
}

func (a answer) into(v any) error {
	if a.status >= 300 {
		return fmt.Errorf("status %d: %s", a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}

// pause is how long to wait for a host that does not answer.
const pause = 20 * time.Millisecond

// call repeats a request until it is answered by something else than "try again".
func (c *client) call(ctx context.Context, method, path string, body any, header ...string) (answer, error) {
	for ctx.Err() == nil {
		a, err := c.once(ctx, method, path, body, header...)
		if err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests {
			return a, nil
		}
		wait(ctx, pause)
	}
	return answer{}, context.Cause(ctx)
}

func (c *client) once(ctx context.Context, method, path string, body any, header ...string) (answer, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base()+path, in)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, b}, err
}

// get reads a resource.
func get[T any](ctx context.Context, c *client, path string, header ...string) (T, error) {
	var out T
	a, err := c.call(ctx, http.MethodGet, path, nil, header...)
	if err == nil {
		err = a.into(&out)
	}
	if err != nil {
		err = fmt.Errorf("GET %s: %w", path, err)
	}
	return out, err
}

// wait passes d, or less when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
