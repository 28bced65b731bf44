// Package cedar decides with Cedar policies: it is the policy.Authorizer of the
// host and the only package that knows cedar-go.
//
// A Set is read from *.cedar files by Load or Compile, which accept a set only if
// every policy passes strict validation against the schema in
// vespiary.cedarschema and carries a unique @id; all faults are reported at once,
// each as a *Problem. An Engine answers requests from the Set it currently holds, and
// tells beside each answer what a candidate set would have said.
//
// A request may come with the chain of those that its principal acts for. Each link is
// decided, and all must be allowed; each must be covered besides by the grants that its
// task was opened with, if it was. Grants narrow and never permit. Policies see in
// context.granted whether every link has grants.
//
// The schema has one Action more for each tool and each operation of a connector, whose
// context.input has the types that Cedar can give to the JSON Schema of its arguments:
// string and enum are String, integer is Long, number is decimal, boolean is Bool, an
// array with one type of elements is a Set, an object with properties is a record. What may
// be absent or null is optional. The rest is left out, and policies cannot see it. Set.Input
// makes context.input of the arguments of a call.
//
// Three things differ from plain Cedar, all of them to fail closed:
//
//   - An evaluation error in any policy in scope is a denial. Cedar skips a policy
//     that errs, and with it a forbid.
//   - A request, its context and its entities must fit the schema, and the entities
//     through which principal and resource inherit must be present. With one
//     missing, a forbid on an ancestor would silently not apply.
//   - An IPv4 address written as IPv6 is decided as the IPv4 address it is.
//
// A forbid may leave a call to a person: with the annotation @needs_approval, or
// @needs_approval("what the person is shown"), it denies unless the call comes with an
// approval of exactly its arguments.
//
//	@id("big-writes")
//	@needs_approval("writing files needs a yes")
//	forbid (principal, action == Action::"fileWrite", resource)
//	unless { context has approval && context.approval.digest == context.argsDigest };
//
// Where only such policies stand between a call and a permit, policy.Decision.Approval
// says so. Compile refuses an annotation that can never come true: on a permit, on a
// forbid that does not look at context.approval, or on one that covers an action whose
// context has none. Who may answer is decided in turn, by the action approve. Its principal
// is a User, like that of all that people ask of the host, where that of a call is a Run.
//
// Policies are indexed by scope, so that the cost of a decision follows the number
// of policies that could apply, not the size of the set. The index changes neither
// decisions nor reasons.
package cedar
