package task

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"regexp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A token is vspt_<tenant>_<task>_<secret>: the first parts find the record, which holds
// the SHA-256 of the whole.
const prefix = "vspt"

var (
	text      = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
	tokenForm = regexp.MustCompile(`^` + prefix + `_([a-z0-9][a-z0-9-]{0,62})_([0-9A-Z]{26})_[0-9a-v]{52}$`)
)

// Token makes the token of a task's holder, with 256 random bits.
func Token(t host.Task) string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return prefix + "_" + t.Tenant + "_" + t.ID + "_" + text.EncodeToString(secret)
}

func digest(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// errWrong is the one answer to every token that is not valid.
var errWrong = &host.Error{Code: host.ErrUnauthorized, Message: "the task's token is unknown, or its task is over; open a new task"}

// Holder returns who holds a token: a caller that may do nothing but work on its task. It
// fails with host.ErrUnauthorized once the task is over.
func (b *Book) Holder(ctx context.Context, token string) (host.Caller, error) {
	m := tokenForm.FindStringSubmatch(token)
	if m == nil {
		return host.Caller{}, errWrong
	}
	tenant, id := m[1], m[2]
	session, err := b.sessionOf(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return host.Caller{}, errWrong
	}
	if err == nil {
		var s *standing
		if s, err = b.known(ctx, tenant, session, id); err == nil {
			return b.holder(s, token)
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return host.Caller{}, errWrong
	}
	return host.Caller{}, host.Errorf(host.ErrUnavailable, "the task's token cannot be checked now; try again: %w", err)
}

func (b *Book) holder(s *standing, token string) (host.Caller, error) {
	if len(s.Token) == 0 || subtle.ConstantTimeCompare(s.Token, digest(token)) != 1 || b.stateOf(s) != host.TaskActive {
		return host.Caller{}, errWrong
	}
	return host.Caller{Tenant: s.Tenant, User: s.User, Via: host.ViaTask, Task: s.ID}, nil
}
