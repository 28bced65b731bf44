package app

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/identity"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// openAudit opens the log of what is asked, decided and done.
func (h *Host) openAudit(ctx context.Context, cfg *config.Config) error {
	signer, err := auditSigner(cfg)
	if err != nil {
		return err
	}
	h.verifier, h.sets = signer.PublicKey(), keptSets{h.store}
	if h.signer, err = delegationSigner(cfg, h.opt.Now); err != nil {
		return err
	}
	if h.audit, err = audit.New(audit.Options{Store: h.store, Signer: signer, Now: h.opt.Now, Log: h.opt.Log}); err != nil {
		return err
	}
	if err := h.audit.SameKey(ctx, host.DefaultTenant); err != nil {
		return fmt.Errorf("audit.key: %w; put back the key that was there, or the one of the master key by leaving it out", err)
	}
	return nil
}

// auditSigner signs checkpoints: with the key that the configuration names, or with one
// made of the master key, so that a copy of the host goes on with it.
func auditSigner(cfg *config.Config) (*audit.Signer, error) {
	if !cfg.Audit.Key.IsZero() {
		key, err := cfg.Audit.Key.Resolve()
		if err != nil {
			return nil, fmt.Errorf("audit.key: %w", err)
		}
		return audit.NewSigner(strings.TrimSpace(key))
	}
	master, err := masterKey(cfg.Data)
	if err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, master, nil, "vespiary audit checkpoint", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	key, err := audit.KeyFromSeed(seed, "vespiary")
	if err != nil {
		return nil, err
	}
	return audit.NewSigner(key)
}

// delegationKeyFile holds the keys that sign what agents take along to other hosts.
const delegationKeyFile = "delegation.pem"

// delegationSigner signs what agents take along, in the name by which other hosts know this
// one; nil where they know it by none.
func delegationSigner(cfg *config.Config, now func() time.Time) (*identity.Signer, error) {
	if cfg.Identity.Audience == "" {
		return nil, nil //nolint:nilnil // it signs nothing
	}
	keys, err := identity.LoadOrCreate(filepath.Join(cfg.Data, delegationKeyFile))
	if err != nil {
		return nil, err
	}
	return identity.NewSigner(identity.SignerOptions{URL: cfg.Identity.Audience, Keys: keys, Now: now})
}

// past is what was decided here.
func (h *Host) past() past { return past{h.audit, h.journals, h.opt.Log} }

// checkpointFile is where the newest checkpoint is written, outside of the store, so that
// others can keep it.
func checkpointFile(cfg *config.Config) string {
	return cmp.Or(cfg.Audit.Checkpoint, filepath.Join(cfg.Data, "audit.checkpoint"))
}

// identities makes what finds out who callers are.
func (h *Host) identities(cfg *config.Config) (*identity.Chain, error) {
	o := identity.Options{
		Keys: h.keys, Tasks: h.holder, Audience: cfg.Identity.Audience, Groups: membersOf(cfg),
		Store: h.store, Now: h.opt.Now, Log: h.opt.Log,
		Issuers: map[string]identity.Issuer{}, Peers: map[string]identity.Peer{},
	}
	for name, i := range cfg.Identity.Issuers {
		o.Issuers[name] = issuerOf(i)
	}
	for name, p := range cfg.Identity.Peers {
		o.Peers[name] = peerOf(p)
	}
	return identity.NewChain(o)
}

// membersOf are the users of each group. Whoever says nothing of groups has the one that the
// policies to begin with know: operators, who look after the host, with the user of its
// machine. A configuration with groups says itself who that is.
func membersOf(cfg *config.Config) map[string][]string {
	if cfg.Groups == nil {
		return map[string][]string{"operators": {LocalUser}}
	}
	return cfg.Groups
}

// holder tells who holds a task's token. The sessions exist once requests come.
func (h *Host) holder(ctx context.Context, token string) (host.Caller, error) {
	return h.sessions.Holder(ctx, token)
}

// authenticator is who the host believes callers to be, by the configuration of now.
type authenticator struct{ h *Host }

// Authenticate implements api.Authenticator.
func (a authenticator) Authenticate(ctx context.Context, token string) (host.Caller, error) {
	return a.h.desired.Load().callers.Authenticate(ctx, token)
}

// groupsOf are the groups of a caller as the configuration has them now; those of a token
// are as the token had them.
func (h *Host) groupsOf(c host.Caller) []string {
	return h.desired.Load().callers.Assign(c).Groups
}

// openGuard makes the guard of what callers ask of the host.
func (h *Host) openGuard() error {
	var err error
	h.guard, err = access.New(access.Options{
		Policy: h.policy, Audit: h.audit, Now: h.opt.Now, Agents: agents{h}.Agent,
		Groups:   h.groupsOf,
		Still:    h.still,
		Evidence: h.sealedFor,
	})
	return err
}

// still tells whether what a caller came with is worth something yet.
func (h *Host) still(ctx context.Context, c host.Caller) error {
	switch c.Via {
	case host.ViaToken:
		if !c.Until.IsZero() && !h.opt.Now().Before(c.Until) {
			return host.Errorf(host.ErrUnauthorized, "the token has expired; come with a new one")
		}
	case host.ViaKey:
		return h.keys.Still(ctx, c)
	case host.ViaTask:
		t, err := h.sessions.Task(ctx, c, c.Task)
		if err == nil && !t.Live(h.opt.Now()) {
			err = host.Errorf(host.ErrUnauthorized, "the task %s is %s", t.ID, t.State)
		}
		return err
	}
	return nil
}

// sealedFor seals what was asked of the host under the session's key where it is about one.
// What is about none holds no arguments but names, and stays readable.
func (h *Host) sealedFor(ctx context.Context, tenant, session string, r *policy.Request) []byte {
	plain, err := policy.AppendEvidence(nil, r)
	if err == nil && session != "" {
		plain, err = h.journals.Wrap(ctx, &host.Run{Tenant: tenant, Session: session}, plain)
	}
	if errors.Is(err, journal.ErrErased) { // as it is meant to be
		return nil
	}
	if err != nil {
		h.opt.Log.WarnContext(ctx, "a decision is on record without what it was made from", "session", session, "error", err)
		return nil
	}
	return plain
}

func issuerOf(i config.Issuer) identity.Issuer {
	return identity.Issuer{
		URL: i.Issuer, Audience: i.Audience, User: i.User, Name: i.Name, Groups: i.Groups, Claims: i.Claims,
		Tenant: i.Tenant, Algorithms: i.Algorithms, TrustGroups: i.TrustGroups,
	}
}

func peerOf(p config.Peer) identity.Peer {
	return identity.Peer{URL: p.Issuer, Keys: p.JWKS, Tenant: p.Tenant}
}

// AuditKey implements cli.App.
func (App) AuditKey(name string) (private, public string, err error) {
	if private, err = audit.GenerateKey(rand.Reader, name); err != nil {
		return "", "", err
	}
	s, err := audit.NewSigner(private)
	if err != nil {
		return "", "", err
	}
	return private, s.PublicKey(), nil
}
