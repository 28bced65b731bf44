package api

import (
	"cmp"
	"time"
)

// Limits bound what clients can make the server hold. A zero field takes its
// default; sizes are in bytes.
type Limits struct {
	Body     int64         // of a request; default 1 MiB
	Header   int           // of a request; default 64 KiB
	Requests int           // at once, without Long routes; default 256
	Long     int           // at once, of Long routes; default 1024
	Rate     float64       // requests per second and key; default 50, negative: no limit
	Burst    int           // of one key; default 100
	Arrive   time.Duration // for headers, and again for the body, to arrive; default 10 s, and 1 s more per MiB that the body may have
	Work     time.Duration // for a request that is not Long; default 30 s
	Write    time.Duration // for a client to take what is written; default 30 s
	Idle     time.Duration // of a connection; default 2 min
	Beat     time.Duration // between comments on a quiet stream; default 15 s
	Grace    time.Duration // for requests to end when the server stops; default 20 s
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Body:     cmp.Or(l.Body, 1<<20),
		Header:   cmp.Or(l.Header, 64<<10),
		Requests: cmp.Or(l.Requests, 256),
		Long:     cmp.Or(l.Long, 1024),
		Rate:     cmp.Or(l.Rate, 50),
		Burst:    cmp.Or(l.Burst, 100),
		Arrive:   cmp.Or(l.Arrive, 10*time.Second),
		Work:     cmp.Or(l.Work, 30*time.Second),
		Write:    cmp.Or(l.Write, 30*time.Second),
		Idle:     cmp.Or(l.Idle, 2*time.Minute),
		Beat:     cmp.Or(l.Beat, 15*time.Second),
		Grace:    cmp.Or(l.Grace, 20*time.Second),
	}
}
