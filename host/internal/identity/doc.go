// Package identity finds out who calls. A Chain tells the kinds of tokens apart and has
// each checked by what knows it:
//
//	vsp_…      an API key             Options.Keys
//	vspt_…     a task's token         Options.Tasks
//	a.b.c      a JWT (RFC 7519) of an OpenID provider, or of another host
//
// Then it adds the groups that the configuration puts the caller in.
//
// # Names
//
// Whoever an issuer named corp calls user1 is user1@corp here, a group staff of its tokens is
// staff@corp, and likewise with the users and agents of another host: what follows the
// last @ is the name that the configuration gives the issuer or host. So two of them
// cannot name the same user, and none can name a group of the configuration, unless
// Issuer.TrustGroups says so.
//
// # Tokens between hosts
//
// A Signer makes the token that goes with a call to another host: a transaction token
// (draft-ietf-oauth-transaction-tokens) that names the user, the task, and by nested act
// claims (RFC 8693, section 4.1) the agents that act for the user. It is for one host, for
// minutes, and for one request: the host that takes it remembers it until it expires.
//
//	jti/<tenant>/<expiry>/<hash of issuer and jti> -> nothing
package identity
