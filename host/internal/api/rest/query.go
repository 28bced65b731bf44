package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host/internal/api"
)

// Page sizes.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// query parses the query of a request that knows the parameters names. A
// misspelt filter would otherwise silently select everything.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, api.Invalid("query", "the query does not parse; escape it as a URL query")
	}
	for name, values := range q {
		if !slices.Contains(names, name) {
			return nil, api.Invalid(name, "the parameter %q does not exist here; %s", name, advice(names))
		}
		if len(values) > 1 {
			return nil, api.Invalid(name, "the parameter %s is given %d times; give it once", name, len(values))
		}
	}
	return q, nil
}

// advice says what may be given instead of what was.
func advice(names []string) string {
	if len(names) == 0 {
		return "remove it"
	}
	return "use " + strings.Join(names, ", ")
}

// limit returns the page size that the client asks for. One that is too large is
// refused, not cut: a client would take the page for the whole.
func limit(q url.Values) (int, error) {
	v := q.Get("limit")
	if v == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxLimit {
		return 0, api.Invalid("limit", "limit is %q; use a number from 1 to %d", v, maxLimit)
	}
	return n, nil
}

// boolean returns a parameter that is true or false, and false when it is not given.
func boolean(q url.Values, name string) (bool, error) {
	v := q.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, api.Invalid(name, "%s is %q; use true or false", name, v)
	}
	return b, nil
}

// oneOf refuses a value that is given and not in the list.
func oneOf[T ~string](field string, v T, list []T) error {
	if v == "" || slices.Contains(list, v) {
		return nil
	}
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = string(one)
	}
	last := len(names) - 1
	return api.Invalid(field, "the %s %q does not exist; use %s or %s", field, v, strings.Join(names[:last], ", "), names[last])
}

// some makes an empty list of none, which JSON would show as null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
