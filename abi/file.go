package abi

import "time"

// Paths are relative and use "/": "notes/today.md" is a file of the session's
// workspace, "docs/README.md" one of the folder that the configuration mounts
// under the name docs. A path that is absolute or climbs out with ".." names
// something outside, which policy sees and the host never opens.

// FileRead reads Limit bytes from Offset; Limit 0 means up to 1 MiB.
type FileRead struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset,omitempty"`
	Limit  int64  `json:"limit,omitempty"`
}

// FileContent is a part of a file. Text holds valid UTF-8, Data any other bytes.
type FileContent struct {
	FileInfo
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"` // base64 in JSON
	EOF  bool   `json:"eof"`
}

// FileWrite replaces a file of the workspace, or adds to its end.
type FileWrite struct {
	Path   string `json:"path"`
	Text   string `json:"text,omitempty"`
	Data   []byte `json:"data,omitempty"` // instead of Text; base64 in JSON
	Append bool   `json:"append,omitempty"`
	Remove bool   `json:"remove,omitempty"` // delete the file instead
}

// FileList lists the folder Path, "" being the root, and with Recursive all below it.
type FileList struct {
	Path      string `json:"path,omitempty"`
	Recursive bool   `json:"recursive,omitempty"`
}

// FileListing is sorted by path. Truncated tells that the host left files out.
type FileListing struct {
	Files     []FileInfo `json:"files"`
	Truncated bool       `json:"truncated,omitempty"`
}

// FileInfo describes a file or folder. Version counts the writes to a workspace
// file; a mounted file has none.
type FileInfo struct {
	Path     string    `json:"path"`
	Folder   bool      `json:"folder,omitempty"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified,omitzero"`
	Version  int64     `json:"version,omitempty"`
	ReadOnly bool      `json:"read_only,omitempty"`
}

// HTTPRequest is one HTTP request. Body is text, or base64 when Base64 is set.
type HTTPRequest struct {
	Method  string            `json:"method,omitempty"` // GET when empty
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Base64  bool              `json:"base64,omitempty"`
}

// HTTPResponse is the answer, whatever its status. Redirects are not followed.
type HTTPResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Base64  bool              `json:"base64,omitempty"` // Body is base64, not UTF-8 text
}
