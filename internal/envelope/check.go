package envelope

import (
	"time"

	"github.com/starling-swarm/starling/internal/fault"
)

// Check reports why a replica would refuse r whatever the mailbox holds: limits, and the fixed rules of
// namespaces. A request that passes can be encoded. The error's kind is Invalid.
func (r *Request) Check() error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "check request", format, args...)
	}
	if len(r.Ops) == 0 || len(r.Ops) > MaxOps {
		return refuse("%d operations, want 1 to %d", len(r.Ops), MaxOps)
	}
	if r.Mode > Each {
		return refuse("mode %d is unknown", r.Mode)
	}
	bodies := 0
	for _, op := range r.Ops {
		if err := CheckOp(op); err != nil {
			return err
		}
		if st, ok := op.(Store); ok {
			bodies += len(st.Body)
		}
	}
	if bodies > MaxBatchBodies {
		return refuse("bodies of %d bytes, want at most %d", bodies, MaxBatchBodies)
	}
	if n := len(r.Encode()); n > MaxRequest {
		return refuse("has %d bytes, want at most %d", n, MaxRequest)
	}
	_, err := r.AuthorityChange()
	return err
}

// AuthorityChange returns the request's SetAuthority, nil if it has none. Such a request has Mode All and one
// of them at most; rotate and recover come with a store to the certificate log. Errors: Invalid.
func (r *Request) AuthorityChange() (*SetAuthority, error) {
	var change *SetAuthority
	certs, commits := false, 0
	for _, op := range r.Ops {
		switch op := op.(type) {
		case SetAuthority:
			if change != nil {
				return nil, fault.New(fault.Invalid, "check request", "two authority changes, want one")
			}
			change = &op
		case Store:
			certs = certs || op.Namespace == Certs
			if op.Namespace == GroupLog {
				commits++
			}
		}
	}
	if commits > 1 {
		return nil, fault.New(fault.Invalid, "check request", "%d commits, want one at most", commits)
	}
	switch {
	case change == nil:
		return nil, nil
	case r.Mode != All:
		return nil, fault.New(fault.Invalid, "check request", "an authority change outside of mode all")
	case change.Change != Genesis && !certs:
		return nil, fault.New(fault.Invalid, "check request", "an authority change without its certificate")
	}
	if change.Flags&NoRecover != 0 && commits == 0 {
		return nil, fault.New(fault.Invalid, "check request",
			"the genesis of a group without its first commit")
	}
	return change, nil
}

func knownFlags(c AuthorityChange, flags uint8) bool {
	return flags == 0 || c == Genesis && flags == NoRecover
}

// CheckOp reports why a replica would refuse op whatever the mailbox holds. The error's kind is Invalid.
func CheckOp(op Op) *fault.Error {
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "check operation", format, args...)
	}
	switch op := op.(type) {
	case Store:
		return checkStore(op)
	case Retrieve:
		return CheckNamespaces(op.Namespaces)
	case RetrieveKey:
		if r, ok := RulesOf(op.Namespace); !ok || !r.Keyed {
			return refuse("namespace %d is not keyed", op.Namespace)
		}
	case Delete:
		if len(op.Hashes) == 0 || len(op.Hashes) > MaxDeleteHashes {
			return refuse("%d hashes, want 1 to %d", len(op.Hashes), MaxDeleteHashes)
		}
		if _, ok := RulesOf(op.Namespace); !ok && op.Namespace != 0 {
			return refuse("namespace %d is unknown", op.Namespace)
		}
	case DeleteBefore:
		if _, ok := RulesOf(op.Namespace); !ok && op.Namespace != 0 {
			return refuse("namespace %d is unknown", op.Namespace)
		}
		if op.Before < 0 {
			return refuse("instant %d lies before 1970", op.Before)
		}
	case SetAuthority:
		if op.Change < Genesis || op.Change > Recover || !knownFlags(op.Change, op.Flags) {
			return refuse("authority change %d with flags %#x is unknown", op.Change, op.Flags)
		}
	case Delegate:
		return checkDelegate(op)
	case Revoke:
	case RevokeKeys:
		if len(op.Keys) == 0 || len(op.Keys) > MaxRevokeKeys {
			return refuse("%d keys, want 1 to %d", len(op.Keys), MaxRevokeKeys)
		}
	case Info:
	default:
		return refuse("operation %T is unknown", op)
	}
	return nil
}

// CheckNamespaces reports why the namespaces of a retrieve or a subscription are refused: none, too many,
// unknown or named twice. The error's kind is Invalid.
func CheckNamespaces(ns []Namespace) *fault.Error {
	if len(ns) == 0 || len(ns) > MaxNamespaces {
		return fault.New(fault.Invalid, "check namespaces", "%d namespaces, want 1 to %d",
			len(ns), MaxNamespaces)
	}
	for i, n := range ns {
		if _, ok := RulesOf(n); !ok {
			return fault.New(fault.Invalid, "check namespaces", "namespace %d is unknown", n)
		}
		for _, o := range ns[:i] {
			if o == n {
				return fault.New(fault.Invalid, "check namespaces", "namespace %d is named twice", n)
			}
		}
	}
	return nil
}

// Public reports whether anyone who knows the MailboxID may read all of ns, so that no signature is needed.
func Public(ns []Namespace) bool {
	for _, n := range ns {
		if r, ok := RulesOf(n); !ok || r.Read&Anyone == 0 {
			return false
		}
	}
	return true
}

func checkStore(op Store) *fault.Error {
	r, ok := RulesOf(op.Namespace)
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Invalid, "check store", format, args...)
	}
	if !ok {
		return refuse("namespace %d is unknown", op.Namespace)
	}
	ttl := time.Duration(op.TTL) * time.Second
	switch {
	case len(op.Body) > r.MaxBody:
		return refuse("%s: body of %d bytes, want at most %d", r.Name, len(op.Body), r.MaxBody)
	case len(op.Admission) > MaxAdmission:
		return refuse("admission of %d bytes, want at most %d", len(op.Admission), MaxAdmission)
	case !r.Keyed && op.Key != [KeySize]byte{}:
		return refuse("%s: has a key, but the namespace is not keyed", r.Name)
	case r.Conditional && op.IfHead == nil:
		return refuse("%s: stores here carry the head that they follow", r.Name)
	case op.IfGeneration != nil && !op.Namespace.IsGroup():
		return refuse("%s: names a generation, but is no group's", r.Name)
	case ttl == 0 && !r.Permanent:
		return refuse("%s: ttl 0, want %v to %v", r.Name, r.MinTTL, r.MaxTTL)
	case ttl != 0 && r.TTLOnly0:
		return refuse("%s: ttl %v, want 0", r.Name, ttl)
	case ttl != 0 && (ttl < r.MinTTL || ttl > r.MaxTTL):
		return refuse("%s: ttl %v, want %v to %v", r.Name, ttl, r.MinTTL, r.MaxTTL)
	case op.Namespace == GroupSlots && len(op.Body) < 32:
		return refuse("%s: body of %d bytes, want the root of its set first", r.Name, len(op.Body))
	}
	if op.Namespace == GroupLog {
		if _, err := DecodeCommit(op.Body); err != nil {
			return refuse("%s: the commit is malformed", r.Name)
		}
	}
	return nil
}
