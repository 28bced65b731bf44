package config

import (
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// algorithms are the signatures that an issuer may use: with each of them, what verifies
// a token cannot make one (RFC 7518, section 3.1, and RFC 8037).
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// enforceable are the sets of ready-made policies.
var enforceable = []string{"flow"}

var tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (k checker) policies() {
	for i, set := range k.Enforce {
		k.known("enforce."+strconv.Itoa(i), "set of policies", set, enforceable)
	}
	switch {
	case !k.Has("candidate"):
	case k.Candidate == "":
		k.Addf("candidate", "expected the path of a folder; leave it out to try no policies")
	case filepath.Clean(k.Candidate) == filepath.Clean(k.Policies):
		k.Addf("candidate", "these are the policies that are in effect; name the folder of those to try beside them")
	}
	k.secret("audit.key", k.Audit.Key)
	if k.Has("audit.checkpoint") && k.Audit.Checkpoint == "" {
		k.Addf("audit.checkpoint", "expected the path of a file; leave it out to write none")
	}
}

func (k checker) identity() {
	id := k.Identity
	if id.Audience == "" && (len(id.Peers) > 0 || k.Has("identity.audience")) {
		k.Addf("identity.audience", "write the URL by which other hosts reach this one, such as https://agents.example.com")
	}
	k.own("identity.audience", id.Audience)
	for name, i := range id.Issuers {
		k.issuer("identity.issuers."+name, i)
	}
	for name, p := range id.Peers {
		k.peer("identity.peers."+name, name, p)
	}
	k.distinct()
	for name, users := range k.Groups {
		for i, user := range users {
			k.user("groups."+name+"."+strconv.Itoa(i), user)
		}
	}
}

func (k checker) issuer(path string, i Issuer) {
	k.trusted(path+".issuer", i.Issuer)
	if i.Audience == "" && k.Identity.Audience == "" {
		k.Addf(path+".audience", "without an audience, tokens would do that are meant for others; write the one that is registered with the issuer")
	}
	for key, claim := range map[string]string{"user": i.User, "name": i.Name, "groups": i.Groups} {
		if k.Has(path+"."+key) && claim == "" {
			k.Addf(path+"."+key, "expected the name of a claim, such as sub, name or groups")
		}
	}
	for n, claim := range i.Claims {
		if claim == "" {
			k.Addf(path+".claims."+strconv.Itoa(n), "expected the name of a claim, such as department")
		}
	}
	for n, a := range i.Algorithms {
		k.known(path+".algorithms."+strconv.Itoa(n), "signature algorithm", a, algorithms)
	}
	if i.TrustGroups && i.Groups == "" {
		k.Addf(path+".trust_groups", "there are no groups to trust; write groups: with the name of their claim")
	}
	k.tenant(path+".tenant", i.Tenant)
}

func (k checker) peer(path, name string, p Peer) {
	k.trusted(path+".issuer", p.Issuer)
	k.own(path+".issuer", p.Issuer)
	if p.Issuer != "" && p.Issuer == k.Identity.Audience {
		k.Addf(path+".issuer", "this is the host itself (identity.audience); name another one")
	}
	if k.Has(path + ".jwks") {
		k.trusted(path+".jwks", p.JWKS)
	}
	if _, taken := k.Identity.Issuers[name]; taken {
		k.Addf(path, "an issuer has this name, so their users could not be told apart; choose another")
	}
	k.tenant(path+".tenant", p.Tenant)
}

// distinct: each URL has one name, as it is all that a token names.
func (k checker) distinct() {
	urls := map[string]string{}
	for name, i := range k.Identity.Issuers {
		urls["identity.issuers."+name] = i.Issuer
	}
	for name, p := range k.Identity.Peers {
		urls["identity.peers."+name] = p.Issuer
	}
	first := map[string]string{}
	for _, path := range sorted(urls) {
		url := urls[path]
		if other := first[url]; other != "" && url != "" {
			k.Addf(path+".issuer", "%s has the same; remove one", other)
			continue
		}
		first[url] = path
	}
}

// trusted: whoever answers at such a URL says who users are, so nobody on the way must
// be able to.
func (k checker) trusted(path, text string) {
	switch u, err := url.Parse(text); {
	case err != nil || !isURL(text) || u.RawQuery != "" || u.Fragment != "":
		k.Addf(path, "expected a URL such as https://login.example.com")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		k.Addf(path, "over http anyone on the way could sign in as anyone; write https")
	}
}

// own is for the URL of a host, which is compared letter by letter.
func (k checker) own(path, text string) {
	if text != "" && (!isURL(text) || strings.HasSuffix(text, "/") || strings.ContainsAny(text, "?#")) {
		k.Addf(path, "expected the URL of a host, such as https://agents.example.com, without a slash at its end")
	}
}

func isLoopback(name string) bool {
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}

func (k checker) tenant(path, tenant string) {
	if k.Has(path) && !tenantForm.MatchString(tenant) {
		k.Addf(path, "a tenant has lower-case letters, digits and -, and begins with a letter or digit")
	}
}

// user: what follows the last @ is the name of an issuer or peer, unless it has a form
// that those cannot have, such as a domain: API keys may have such users.
func (k checker) user(path, user string) {
	if user == "" || strings.IndexFunc(user, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		k.Addf(path, "expected the name of a user, such as local or user1@corp")
		return
	}
	at := strings.LastIndexByte(user, '@')
	if at < 0 || !nameForm.MatchString(user[at+1:]) {
		return
	}
	k.known(path, "issuer or peer", user[at+1:], slices.Concat(keys(k.Identity.Issuers), keys(k.Identity.Peers)))
}

// external checks what an agent may not have that is a program elsewhere.
func (k checker) external(path string, a Agent) {
	for _, key := range []string{"options", "max_steps"} {
		if a.Plugin == PluginExternal && k.Has(path+"."+key) {
			k.Addf(path+"."+key, "an external agent is not run by this host, so it cannot be told this; leave it out")
		}
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
