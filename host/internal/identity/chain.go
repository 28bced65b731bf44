package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// How the tokens that a host makes itself begin.
const (
	KeyPrefix  = "vsp_"
	TaskPrefix = "vspt_"
)

// Authenticator tells whose a token is. A token that is not valid is
// host.ErrUnauthorized, one that cannot be checked now host.ErrUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (host.Caller, error)
}

// Options configure a Chain. Keys and Now are needed, and with Peers also Audience and Store.
type Options struct {
	Keys  Authenticator
	Tasks func(ctx context.Context, token string) (host.Caller, error) // nil: no token of a task is valid
	// Audience is the URL of this host, which tokens of other hosts must be made for, and
	// those of issuers that have no audience of their own.
	Audience string
	Issuers  map[string]Issuer
	Peers    map[string]Peer
	// Groups lists the users of each group, by the names they have here. A name without
	// an @ stands for a user of host.DefaultTenant alone: other tenants have users of
	// their own by that name.
	Groups    map[string][]string
	Store     store.Store
	Now       func() time.Time
	Transport http.RoundTripper // to issuers and peers; nil: one like http.DefaultTransport
	Log       *slog.Logger      // says why tokens were refused; nil: nobody is told
}

// Chain authenticates callers by tokens of all kinds. It is safe for concurrent use. It
// reads the keys of issuers and peers when a token needs them, so that a host starts
// although one of them is down.
type Chain struct {
	Options
	groups  groups
	issuers map[string]*issuer // by iss
	peers   map[string]*peer   // by iss
	spent   *spent
}

var _ Authenticator = (*Chain)(nil)

// NewChain returns a Chain. It reaches for nobody.
func NewChain(o Options) (*Chain, error) {
	if o.Keys == nil || o.Now == nil {
		return nil, errors.New("identity: Options.Keys and Options.Now are needed")
	}
	if len(o.Peers) > 0 && (o.Store == nil || o.Audience == "") {
		return nil, errors.New("identity: with Options.Peers, Store and Audience are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Chain{
		Options: o, groups: newGroups(o.Groups), issuers: map[string]*issuer{}, peers: map[string]*peer{},
		spent: &spent{o.Store, o.Now},
	}
	client := newClient(o.Transport)
	for name, i := range o.Issuers {
		if err := c.addIssuer(client, name, i); err != nil {
			return nil, fmt.Errorf("issuer %s: %w", name, err)
		}
	}
	for name, p := range o.Peers {
		if err := c.addPeer(client, name, p); err != nil {
			return nil, fmt.Errorf("peer %s: %w", name, err)
		}
	}
	return c, nil
}

// nameForm leaves out the @ that separates such a name from a user's.
var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// checkName: a name stands for one issuer or host, and a URL has one name.
func (c *Chain) checkName(name, tenant, url string) error {
	_, issuer := c.Issuers[name]
	_, peer := c.Peers[name]
	switch {
	case !nameForm.MatchString(name):
		return errors.New("a name has lower-case letters, digits, - and _, and begins with a letter")
	case issuer && peer:
		return errors.New("an issuer and a peer have the same name, so their users could not be told apart; rename one")
	case !tenantForm.MatchString(tenant):
		return fmt.Errorf("the tenant %q is not made of lower-case letters, digits and dashes", tenant)
	case c.issuers[url] != nil || c.peers[url] != nil:
		return fmt.Errorf("%s has another name already; remove one", url)
	}
	return nil
}

// errWrong is the one answer to every token that is not valid: which part is wrong is
// for the log.
const errWrong = "the token is unknown, expired, used, or meant for another host; use a valid one"

// Authenticate implements Authenticator. The cause of an error, which is not shown, tells
// what is wrong with a JWT.
func (c *Chain) Authenticate(ctx context.Context, token string) (host.Caller, error) {
	caller, err := c.caller(ctx, token)
	if err != nil {
		return host.Caller{}, err
	}
	return c.Assign(caller), nil
}

func (c *Chain) caller(ctx context.Context, token string) (host.Caller, error) {
	switch {
	case strings.HasPrefix(token, TaskPrefix) && c.Tasks != nil:
		return c.Tasks(ctx, token)
	case strings.HasPrefix(token, KeyPrefix):
		return c.Keys.Authenticate(ctx, token)
	case !strings.Contains(token, "."):
		return host.Caller{}, &host.Error{Code: host.ErrUnauthorized, Message: errWrong}
	}
	caller, err := c.bearer(ctx, token)
	if err != nil {
		return host.Caller{}, c.refused(ctx, err)
	}
	return caller, nil
}

// bearer believes of a token only who it is to be checked against.
func (c *Chain) bearer(ctx context.Context, token string) (host.Caller, error) {
	h, iss, err := peek(token)
	if err != nil {
		return host.Caller{}, err
	}
	if h.Type == delegationType {
		if p := c.peers[iss]; p != nil {
			return p.authenticate(ctx, h, token)
		}
		return host.Caller{}, fmt.Errorf("no peer is configured by the issuer %q", iss)
	}
	if i := c.issuers[iss]; i != nil {
		return i.authenticate(ctx, h, token)
	}
	return host.Caller{}, fmt.Errorf("no issuer is configured by %q", iss)
}

// refused turns what went wrong into what a caller may know.
func (c *Chain) refused(ctx context.Context, err error) error {
	if errors.Is(err, errUnreachable) {
		c.Log.WarnContext(ctx, "a token cannot be checked", "reason", err)
		return &host.Error{Code: host.ErrUnavailable, Message: "the token cannot be checked now; try again", Cause: err}
	}
	c.Log.InfoContext(ctx, "a token was refused", "reason", err)
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	return &host.Error{Code: host.ErrUnauthorized, Message: errWrong, Cause: err}
}
