// Package access decides what people and services may ask of the host. A Guard puts
// itself before the services of the HTTP API, by their own interfaces: it asks policy,
// takes the decision down in the audit, and only then calls on.
//
//	caller -> task's token? -> scopes of the key -> is it there, and may they see it? -> may they do it? -> record -> service -> record
//
// What a caller may not read does not exist for them: the guard looks things up itself,
// and says the same of what is missing and of what is hidden. What they may read but not
// do is forbidden, with the policies that decided. Lists hold what they may read.
//
// The decision is durable before anything changes or leaves in bulk; of what is merely
// read it is so soon after. What cannot be taken down is not done.
//
// The holder of a task's token may do nothing but work in that task. No policy is asked
// about that: to hold the token is the permission, and each call in the task is decided
// where all calls of agents are.
package access
