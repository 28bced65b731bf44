package cedar

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// maxDepth bounds nested values, so that one that contains itself is an error
// rather than the end of the process.
const maxDepth = 32

var (
	errDepth = fmt.Errorf("is nested more than %d deep", maxDepth)
	errNil   = errors.New("is nil; leave the key out if there is no value")
)

func uid(u policy.UID) types.EntityUID {
	return types.EntityUID{Type: types.EntityType(u.Type), ID: types.String(u.ID)}
}

// value converts the Go types that policy.Entity allows.
func value(v any, depth int) (types.Value, error) {
	switch v := v.(type) {
	case string:
		return types.String(v), nil
	case bool:
		return types.Boolean(v), nil
	case int64:
		return types.Long(v), nil
	case int:
		return types.Long(v), nil
	case policy.UID:
		return uid(v), nil
	case policy.Decimal:
		return decimalValue(v)
	case time.Time:
		return datetime(v)
	case netip.Addr:
		return address(v)
	case map[string]any:
		return record(v, depth)
	case *policy.Shared:
		return shared(v, depth)
	case nil:
		return nil, errNil
	default:
		return slice(v, depth)
	}
}

// shared converts a value that requests have in common when the first of them needs it.
func shared(s *policy.Shared, depth int) (types.Value, error) {
	type converted struct {
		value types.Value
		err   error
	}
	if s == nil {
		return nil, errNil
	}
	if depth >= maxDepth {
		return nil, errDepth
	}
	c, _ := s.Prepared.Get(func() any {
		v, err := value(s.Value, depth+1)
		return converted{v, err}
	}).(converted)
	return c.value, c.err
}

func slice(v any, depth int) (types.Value, error) {
	switch v := v.(type) {
	case []string:
		return set(v, depth)
	case []policy.UID:
		return set(v, depth)
	case []policy.Decimal:
		return set(v, depth)
	case []any:
		return set(v, depth)
	case []map[string]any:
		return set(v, depth)
	case []int64:
		return set(v, depth)
	case []int:
		return set(v, depth)
	case []bool:
		return set(v, depth)
	case []time.Time:
		return set(v, depth)
	case []netip.Addr:
		return set(v, depth)
	default:
		return nil, fmt.Errorf("has the Go type %T, which policies do not know; see policy.Entity", v)
	}
}

func set[T any](elements []T, depth int) (types.Value, error) {
	if depth >= maxDepth {
		return nil, errDepth
	}
	values := make([]types.Value, len(elements))
	for i, e := range elements {
		v, err := value(e, depth+1)
		if err != nil {
			return nil, fmt.Errorf("element %d %w", i, err)
		}
		values[i] = v
	}
	return types.NewSet(values...), nil
}

func record(fields map[string]any, depth int) (types.Record, error) {
	values, err := recordMap(fields, depth)
	if err != nil {
		return types.Record{}, err
	}
	return types.NewRecord(values), nil
}

func recordMap(fields map[string]any, depth int) (types.RecordMap, error) {
	if depth >= maxDepth {
		return nil, errDepth
	}
	values := make(types.RecordMap, len(fields)+1)
	for k, f := range fields {
		v, err := value(f, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%q %w", k, err)
		}
		values[types.String(k)] = v
	}
	return values, nil
}

func decimalValue(d policy.Decimal) (types.Value, error) {
	v, err := types.ParseDecimal(string(d))
	if err != nil {
		return nil, fmt.Errorf("is the number %q, which Cedar cannot hold; write it with one to four digits after the point", string(d))
	}
	return v, nil
}

// datetime keeps milliseconds, which is what Cedar has.
func datetime(t time.Time) (types.Value, error) {
	if s := t.Unix(); s > math.MaxInt64/1000-1 || s < math.MinInt64/1000+1 {
		return nil, fmt.Errorf("is the time %v, which Cedar cannot hold", t)
	}
	return types.NewDatetime(t), nil
}

// address unmaps IPv4 in IPv6 form (::ffff:10.0.0.1): it is the IPv4 address that
// would be dialled, and Cedar's ranges of IPv4 do not match the mapped form.
func address(a netip.Addr) (types.Value, error) {
	if !a.IsValid() {
		return nil, errors.New("is the zero netip.Addr, which is no address")
	}
	a = a.Unmap().WithZone("")
	return types.IPAddr(netip.PrefixFrom(a, a.BitLen())), nil
}
