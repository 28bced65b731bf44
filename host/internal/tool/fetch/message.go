package fetch

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/vespiary/vespiary/abi"
)

const (
	maxHeaders    = 64
	maxHeaderText = 32 << 10 // bytes
)

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// reads reports whether a method is safe by the words of RFC 9110, section 9.2.1.
// OPTIONS is as well, but servers do what they like with it.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func methodOf(in abi.HTTPRequest) (string, error) {
	m := strings.ToUpper(in.Method)
	if m == "" {
		return http.MethodGet, nil
	}
	if !slices.Contains(methods, m) {
		return "", fmt.Errorf("the method %.20q is not one of %s", in.Method, strings.Join(methods, ", "))
	}
	return m, nil
}

func bodyOf(in abi.HTTPRequest, method string) ([]byte, error) {
	if in.Body == "" {
		return nil, nil
	}
	if reads(method) {
		return nil, fmt.Errorf("a %s request has no body", method)
	}
	if !in.Base64 {
		return []byte(in.Body), nil
	}
	b, err := base64.StdEncoding.DecodeString(in.Body)
	if err != nil {
		return nil, fmt.Errorf("the body is not base64: %w", err)
	}
	return b, nil
}

// Headers that are not the guest's to set, in lower case.
var (
	framing = []string{
		"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
		"transfer-encoding", "upgrade", "via", "forwarded", "http2-settings",
	}
	overrides   = []string{"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"}
	credentials = []string{"authorization", "cookie", "cookie2", "api-key", "apikey", "x-api-key", "x-auth", "x-amz-security-token"}
	secretEnds  = []string{"-authorization", "-token", "-api-key", "-apikey", "-secret", "-password", "-credential", "-credentials"}
)

// headersOf checks the headers of a request.
func headersOf(in map[string]string) (http.Header, error) {
	if len(in) > maxHeaders {
		return nil, fmt.Errorf("there are over %d headers", maxHeaders)
	}
	out, size := http.Header{}, 0
	for name, value := range in {
		if size += len(name) + len(value); size > maxHeaderText {
			return nil, fmt.Errorf("the headers are over %d bytes", maxHeaderText)
		}
		if err := checkHeader(name, value); err != nil {
			return nil, err
		}
		if _, twice := out[http.CanonicalHeaderKey(name)]; twice {
			return nil, fmt.Errorf("the header %s is given twice", name)
		}
		out.Set(name, value)
	}
	if out.Get("User-Agent") == "" {
		out.Set("User-Agent", "vespiary")
	}
	return out, nil
}

func checkHeader(name, value string) error {
	lower := strings.ToLower(name)
	endsIn := func(end string) bool { return strings.HasSuffix(lower, end) }
	switch {
	case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the header %.80q is not valid", name)
	case slices.Contains(credentials, lower) || strings.HasPrefix(lower, "proxy-") || slices.ContainsFunc(secretEnds, endsIn):
		return fmt.Errorf("the header %s carries a credential; a guest must hold none: the host adds them, which this version cannot do yet", name)
	case slices.Contains(framing, lower) || strings.HasPrefix(lower, "x-forwarded-"):
		return fmt.Errorf("the header %s is the host's to set; leave it out", name)
	case slices.Contains(overrides, lower):
		return errors.New("the header " + name + " would make the request another one than it says; use the method and URL themselves")
	}
	return nil
}

const (
	maxResponse = 4 << 20 // bytes of a response's body
	maxEncoded  = 7 << 20 // bytes of the answer's JSON, which the journal keeps
)

// encode makes the answer of a response.
func encode(status int, header http.Header, body []byte) (json.RawMessage, error) {
	out := abi.HTTPResponse{Status: status, Headers: map[string]string{}}
	for name, values := range header {
		if name != "Set-Cookie" { // a guest can send no cookie back
			out.Headers[name] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
		}
	}
	if utf8.Valid(body) {
		out.Body = string(body)
		b, err := json.Marshal(out)
		// JSON escapes may make six bytes of one.
		if err != nil || len(b) <= maxEncoded {
			return b, err
		}
	}
	out.Body, out.Base64 = base64.StdEncoding.EncodeToString(body), true
	return json.Marshal(out)
}
