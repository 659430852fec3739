// Package closed is closed groups on one device: it follows the mailbox of each, makes the changes that this
// device wants, answers what others ask of the admins, and keeps the account's devices in step about them.
// What a group is, and which change follows which, package groups says; this one moves the bytes and keeps
// the store.
//
// Groups owns a worker for every group that may change. Its three loops follow the mailbox, serve the admins'
// part, and carry out what is wanted. A group's state is touched only inside a transaction, which serialises
// all of it; Groups.mu guards the workers and those who wait for changes, worker.mu what one loop of a worker
// finds for the others. The package owns the rows of groups, their changes, asks, links, errands and
// handovers.
//
// Where to look:
//
//	engine.go, turns.go, request.go          workers, which groups are followed when there are many, requests
//	follow.go, log.go, mail.go, catchup.go   what a mailbox gives, in its order
//	running.go, doubt.go, left_out.go        what several replicas must agree on before it is believed
//	changes.go, commit.go, work.go, aside.go what this device wants, durable until it is in the log
//	admin.go, requests.go                    what others ask of the admins
//	invite.go, link.go, join.go, door.go, door_commit.go
//	                                         coming in; a door is the link of a public group: it lets in at
//	                                         once
//	send.go, messages.go, notices.go         messages, and what is told of the log in words
//	keeper.go, devices.go, handover.go, return.go, spare.go, schedule.go, urgent.go
//	                                         errands: what own devices owe each other, and what time brings
//	credential.go, forged.go, strangers.go   whether members are who they say, and bounds on who is not known
//	api.go, view.go, groups.go               what package client asks for
package closed
