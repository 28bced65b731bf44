// Package task keeps the tasks of a host: who may do what for how long, apart from the
// policies. A task has a record while it may be worth something:
//
//	task/<tenant>/<session>/<task>  -> record (JSON)
//	taskid/<tenant>/<task>          -> session
//
// The record is written in one batch with the event that opens the task, and changed in
// one batch with what ends it. A task without a record is over, whoever still holds its
// id: after a crash nothing has to be found and revoked.
package task
