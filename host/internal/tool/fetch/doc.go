// Package fetch holds the capability http_fetch: one HTTP request to an address that
// policy has seen.
//
// The name in a URL is resolved once, when the call is classified, and exactly the
// address that was authorised is dialled, so that a name cannot mean one thing to
// policy and another to the connection. The URL that is sent is the one that policy
// saw: odd spellings of addresses and paths are undone, or refused. Redirects are
// answers like any other, no proxy is used, and no connection is used twice.
//
// Beyond policy there is a ceiling: addresses of this machine, of private networks
// and of their infrastructure are refused unless the host's configuration allows
// them. The request is still decided and recorded, so that the refusal can be seen.
//
// Credentials are the host's to add, after authorisation, and this host adds none
// yet. A guest's own are refused, as a guest must hold no secret.
package fetch
