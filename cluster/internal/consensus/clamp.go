package consensus

import "github.com/hashicorp/raft"

// The hazard that this file closes: hashicorp/raft lets a follower set its commit index to min(leader's
// commit, its own last index). The Raft paper says min(leader's commit, last index that the message covers),
// because behind that a follower may hold entries of its own, of a term that lost, which the leader has not
// yet overwritten. A leader that reads its last index, then waits in its back-off after failures, and only
// then reads its commit index sends exactly such a message: empty, with an old previous index and a newer
// commit. The follower then applies its own entries, and the replicas differ for ever.
//
// Lowering LeaderCommitIndex to the last index that the message covers loses nothing: the next message, which
// covers more, commits more. It is done when sending, and again when receiving, so that one replica without
// this remedy harms nobody else.

// clampCommit lowers the commit index of a message to the last index that the message covers.
func clampCommit(req *raft.AppendEntriesRequest) {
	covered := req.PrevLogEntry + uint64(len(req.Entries))
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, covered)
}

// clampedPipeline clamps what is sent through a pipeline.
type clampedPipeline struct{ raft.AppendPipeline }

func (p clampedPipeline) AppendEntries(req *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	clampCommit(req)
	return p.AppendPipeline.AppendEntries(req, resp)
}
