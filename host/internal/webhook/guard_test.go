package webhook

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

// names is a Resolver that knows a few names.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range n[host] {
		out = append(out, netip.MustParseAddr(text))
	}
	if out == nil {
		return nil, errors.New("no such name")
	}
	return out, nil
}

func TestGuard(t *testing.T) {
	const none, public, private, literal = 0, 1, 2, 3 // who may reach it: nobody, all, private endpoints, those that write it out
	for addr, want := range map[string]int{
		"93.184.216.34": public, "8.8.8.8": public, "2606:4700::1111": public, "::ffff:8.8.8.8": public,
		"127.0.0.1": private, "127.255.0.9": private, "::1": private, "::ffff:127.0.0.1": private,
		"10.0.0.1": private, "172.16.0.1": private, "192.168.1.1": private, "fd00::1": private, "fd00:ec2::254": private,
		"::ffff:10.0.0.1": private, "::ffff:100.64.0.1": private, "::ffff:192.0.2.1": none, "100.64.0.1": private, "100.100.100.200": private,
		"169.254.169.254": literal, "::ffff:169.254.169.254": literal, "169.254.170.2": literal, "fe80::1": literal,
		"0.0.0.0": none, "0.1.2.3": none, "::": none, "::ffff:0.0.0.0": none, "::127.0.0.1": none,
		"255.255.255.255": none, "240.0.0.1": none, "224.0.0.1": none, "ff02::1": none, "ff0e::1": none,
		"192.0.0.192": none, "192.0.2.1": none, "198.18.0.1": none, "203.0.113.9": none, "192.88.99.1": none,
		"64:ff9b::7f00:1": none, "64:ff9b::a9fe:a9fe": none, "64:ff9b:1::a00:1": none, "2002:7f00:1::": none,
		"2001::1": none, "2001:db8::1": none, "100::1": none, "3fff::1": none, "5f00::1": none, "fec0::1": none,
	} {
		host := names{"hook.example": {addr}}
		for name, test := range map[string]struct {
			guard guard
			host  string
			may   bool
		}{
			"https by name":             {guard{resolver: host}, "hook.example", want == public},
			"https by address":          {guard{resolver: host}, addr, want == public},
			"private, by name":          {guard{resolver: host, private: true}, "hook.example", want == public || want == private},
			"private, by address":       {guard{resolver: host, private: true}, addr, want != none},
			"private and plain by name": {guard{resolver: host, private: true, plain: true}, "hook.example", want == private},
			"private and plain":         {guard{resolver: host, private: true, plain: true}, addr, want == private || want == literal},
		} {
			got, err := test.guard.resolve(t.Context(), test.host)
			if (err == nil) != test.may {
				t.Errorf("%s, %s: got %v, %v; may be reached: %v", addr, name, got, err, test.may)
			}
		}
	}
}

func TestResolve(t *testing.T) {
	g := guard{resolver: names{
		"mixed.example": {"10.0.0.1", "8.8.8.8", "::ffff:169.254.169.254", "2606:4700::1111"},
		"inner.example": {"10.0.0.1", "127.0.0.1"},
	}}
	got, err := g.resolve(t.Context(), "mixed.example")
	if err != nil || len(got) != 2 || got[0].String() != "8.8.8.8" || got[1].String() != "2606:4700::1111" {
		t.Errorf("of a mixed name only the public addresses may be dialled, got %v, %v", got, err)
	}
	for _, name := range []string{"inner.example", "unknown.example"} {
		if got, err := g.resolve(t.Context(), name); err == nil {
			t.Errorf("%s resolves to %v", name, got)
		}
	}
	if _, err := (&guard{resolver: empty{}}).resolve(t.Context(), "empty.example"); err == nil {
		t.Error("a name without addresses resolves")
	}
}

type empty struct{}

func (empty) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }
