package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
)

// TestFullBucketsAreDropped: who names one user after the other fills no memory, and nobody
// gets a new bucket by that who has used up the old one.
func TestFullBucketsAreDropped(t *testing.T) {
	clock := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	r := newRates(Limits{Rate: 1, Burst: 2}, func() time.Time { return clock })
	caller := func(i int) host.Caller { return host.Caller{Tenant: "home", User: fmt.Sprintf("user%d", i)} }
	for i := range maxBuckets {
		if err := r.take(caller(i)); err != nil {
			t.Fatal(err)
		}
	}
	used := caller(0)
	if err := r.take(used); err != nil {
		t.Fatalf("the second of two at once: %v", err)
	}
	// None is full, so all are kept although they are many.
	if err := r.take(caller(maxBuckets)); err != nil || len(r.byKey) != maxBuckets+1 {
		t.Fatalf("%d buckets, %v", len(r.byKey), err)
	}
	if err := r.take(used); err == nil {
		t.Fatal("a third request at once is taken")
	}
	// A second on, those with one request are full again; this one has one of two.
	clock = clock.Add(time.Second)
	if err := r.take(caller(maxBuckets + 1)); err != nil || len(r.byKey) != 2 {
		t.Fatalf("%d buckets are left, want 2: %v", len(r.byKey), err)
	}
	if err := r.take(used); err != nil {
		t.Fatalf("one a second: %v", err)
	}
	if err := r.take(used); err == nil {
		t.Error("a bucket that was not full is new")
	}
	// Below the limit nothing is dropped.
	clock = clock.Add(time.Hour)
	if err := r.take(caller(maxBuckets + 2)); err != nil || len(r.byKey) != 3 {
		t.Errorf("%d buckets, want 3: %v", len(r.byKey), err)
	}
}

// TestBucketsAreSeparate: a key, its user's tokens and other tenants' users have one each.
func TestBucketsAreSeparate(t *testing.T) {
	clock := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	r := newRates(Limits{Rate: 1, Burst: 1}, func() time.Time { return clock })
	for _, c := range []host.Caller{
		{Tenant: "home", User: "user1", Key: "k1"},
		{Tenant: "home", User: "user1", Key: "k2"},
		{Tenant: "home", User: "user1"},
		{Tenant: "home", User: "user2"},
		{Tenant: "other", User: "user1"},
	} {
		if err := r.take(c); err != nil {
			t.Errorf("%+v: the first request: %v", c, err)
		}
		if err := r.take(c); err == nil {
			t.Errorf("%+v: a second request at once is taken", c)
		}
	}
}
