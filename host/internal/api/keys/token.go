package keys

import (
	"encoding/base32"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
)

// A token is vsp_<tenant>_<id>_<secret>. The tenant and the id find the record;
// the prefix lets secret scanners find tokens that leaked.
const prefix = "vsp"

// An id need only be unique in a tenant; a secret must not be guessed.
const (
	idBytes     = 10
	secretBytes = 32
)

// text has only letters and digits in lower case, so that a double click selects
// a token whole.
var text = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

var (
	tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	tokenForm  = regexp.MustCompile(`^` + prefix + `_([a-z0-9][a-z0-9-]{0,62})_([0-9a-v]{16})_[0-9a-v]{52}$`)
)

// newToken draws id and secret from one read of random.
func newToken(random io.Reader, tenant string) (id, token string, err error) {
	b := make([]byte, idBytes+secretBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", "", fmt.Errorf("make an API key: %w", err)
	}
	id = text.EncodeToString(b[:idBytes])
	return id, strings.Join([]string{prefix, tenant, id, text.EncodeToString(b[idBytes:])}, "_"), nil
}

// parseToken returns the parts of a token that are not secret.
func parseToken(token string) (tenant, id string, ok bool) {
	m := tokenForm.FindStringSubmatch(token)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// storeKey leads to a record; with an empty id it is the prefix of the tenant's keys.
// Neither part can hold a slash.
func storeKey(tenant, id string) string { return "key/" + tenant + "/" + id }

// sortByAge gives lists an order that people expect: ids are random.
func sortByAge(keys []host.APIKey) {
	slices.SortStableFunc(keys, func(a, b host.APIKey) int { return a.Created.Compare(b.Created) })
}
