package runtime

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/abi"
)

// Extism's http_request has no way to return an error: its own hosts trap. Here
// a request that the host refused is an answer like any other, with a status that
// tells the kind of refusal and the abi.Error as its JSON body.
var statusOf = map[abi.Code]int{
	abi.CodeDenied:         403,
	abi.CodeNeedsApproval:  403,
	abi.CodeNotFound:       404,
	abi.CodeInvalid:        400,
	abi.CodeTimeout:        504,
	abi.CodeRateLimited:    429,
	abi.CodeBudgetExceeded: 429,
	abi.CodeUnavailable:    503,
	abi.CodeUnknownOutcome: 502,
	abi.CodeCancelled:      503,
	abi.CodeInternal:       500,
}

// errorHeader marks a response that the host made in place of the other side.
const errorHeader = "vespiary-error"

// httpRequest implements Extism's http_request: the first block is a JSON object
// with url, method and headers, the second one the body or 0. It frees both.
func httpRequest(ctx context.Context, w *world, mem blockMemory, stack []uint64) error {
	request, err := fetchRequest(mem, stack[0], stack[1])
	if err != nil {
		return err
	}
	answer, err := w.call(ctx, abi.CallHTTPFetch, request)
	if err != nil {
		return err
	}
	body, err := w.keepResponse(answer)
	if err != nil {
		return err
	}
	stack[0], err = mem.write(body)
	return err
}

// fetchRequest makes a request for http_fetch of the two blocks and frees them.
func fetchRequest(mem blockMemory, head, body uint64) ([]byte, error) {
	raw, err := mem.read(head)
	if err != nil {
		return nil, err
	}
	var request abi.HTTPRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("http_request: the request is not the JSON object {url, method, headers}: %w", err)
	}
	if raw, err = mem.read(body); err != nil {
		return nil, err
	}
	request.Method = strings.ToUpper(request.Method)
	request.Body, request.Base64 = encodeBody(raw)
	mem.release(head)
	mem.release(body)
	return json.Marshal(request)
}

// encodeBody returns b as JSON can carry it: as text, or else in base64.
func encodeBody(b []byte) (string, bool) {
	if utf8.Valid(b) {
		return string(b), false
	}
	return base64.StdEncoding.EncodeToString(b), true
}

// keepResponse remembers status and headers for the functions that read them,
// and returns the body.
func (w *world) keepResponse(answer []byte) ([]byte, error) {
	var result abi.Result
	if err := json.Unmarshal(answer, &result); err != nil {
		return nil, fmt.Errorf("http_request: the host's answer is not a result: %w", err)
	}
	if result.Error != nil {
		return w.keepRefusal(result.Error)
	}
	var response abi.HTTPResponse
	if err := json.Unmarshal(result.OK, &response); err != nil {
		return nil, fmt.Errorf("http_request: the host's answer is not a response: %w", err)
	}
	if err := w.keepHead(response.Status, response.Headers); err != nil {
		return nil, err
	}
	if response.Base64 {
		return base64.StdEncoding.DecodeString(response.Body)
	}
	return []byte(response.Body), nil
}

// keepRefusal makes a response of what the host said instead of one.
func (w *world) keepRefusal(e *abi.Error) ([]byte, error) {
	status, ok := statusOf[e.Code]
	if !ok {
		status = statusOf[abi.CodeInternal]
	}
	head := map[string]string{"content-type": "application/json", errorHeader: string(e.Code)}
	if err := w.keepHead(status, head); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]*abi.Error{"error": e})
}

// keepHead remembers status and headers, whose names Extism wants in lower case.
func (w *world) keepHead(status int, headers map[string]string) error {
	lower := make(map[string]string, len(headers))
	for k, v := range headers {
		lower[strings.ToLower(k)] = v
	}
	var err error
	w.status = status
	w.header, err = json.Marshal(lower)
	return err
}

// httpStatus implements http_status_code: of the last response, 0 before one.
func httpStatus(_ context.Context, w *world, _ blockMemory, stack []uint64) error {
	stack[0] = api.EncodeI32(int32(w.status)) //nolint:gosec // statuses have three digits
	return nil
}

// httpHeaders implements http_headers: a JSON object with lower-case names, or 0
// before a response.
func httpHeaders(_ context.Context, w *world, mem blockMemory, stack []uint64) (err error) {
	stack[0], err = mem.write(w.header)
	return err
}
