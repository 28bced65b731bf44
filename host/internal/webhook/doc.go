// Package webhook tells the operator's endpoints of what needs a person, so that
// nobody has to poll: a turn that waits, one that failed, a session that was parked, a
// call whose outcome is unknown.
//
// A notice is queued by ops that the caller commits in one batch with the journal
// entry that it tells of, so that there is neither an entry without its notice nor a
// notice of what never happened. From there it is delivered at least once: it outlives
// crashes and is tried ten times over three days. A receiver drops repetitions by the
// header webhook-id, which is the same in every attempt. The order is best effort.
//
// Requests follow the Standard Webhooks specification 1.0.0: a POST of JSON with the
// members type ("session." and the type of the notice), timestamp (of the event) and
// data (a [host.Notice]), signed by HMAC-SHA256 in the headers webhook-id, webhook-timestamp and
// webhook-signature. Any status of 200 to 299 takes the notice; 410 declines it; all
// others, redirects among them, are tried again. [Verify] is what a receiver does.
//
// The URL is the operator's, but what its name leads to is not: the name is resolved
// for each connection, only an address that was checked is dialled, and addresses of
// this machine, of private networks and of their infrastructure are refused unless the
// endpoint is declared private. No redirect is followed and no proxy is used.
//
// # Outbox
//
// One record for each notice and endpoint, under webhook/<endpoint>/<due>/<id>, where
// due is the time of the next attempt in nanoseconds. The first key of an endpoint is
// therefore what its worker does next, however many wait.
package webhook
