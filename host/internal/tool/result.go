package tool

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/abi"
)

// maxResult is the size of a tool's result, in bytes. Escaped in JSON it may become
// six times as long, which still fits a record of the journal.
const maxResult = 1 << 20

var contentTypes = []string{"text", "image", "audio", "resource_link", "resource"}

// decodeResult reads what a plugin returned, or says what is wrong with it. Fields
// that it does not know are dropped: the protocol leaves room for them.
func decodeResult(out []byte) (r abi.ToolResult, wrong string) {
	if len(out) > maxResult {
		return r, fmt.Sprintf("it is %d bytes long, over the limit of %d; ask for less", len(out), maxResult)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, err.Error()
	}
	if r.Content == nil && r.StructuredContent == nil {
		return r, "it has neither content nor structuredContent"
	}
	for i, part := range r.Content {
		if !slices.Contains(contentTypes, part.Type) {
			return r, fmt.Sprintf("part %d of its content has the type %.40q", i, part.Type)
		}
	}
	if r.Content == nil {
		r.Content = []abi.Content{}
	}
	return r, ""
}

// failed is a result that tells the model why there is none.
func failed(why string) abi.ToolResult {
	return abi.ToolResult{Content: []abi.Content{abi.Text(why)}, IsError: true}
}
