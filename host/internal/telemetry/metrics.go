package telemetry

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// metrics are the counters of the host. Their labels are names from the configuration
// and from the contract, so that no caller and no guest can make new series.
type metrics struct {
	registry *prometheus.Registry

	turns       *prometheus.CounterVec   // agent, status
	turnSeconds *prometheus.HistogramVec // agent
	running     prometheus.Gauge
	calls       *prometheus.CounterVec   // call, outcome
	callSeconds *prometheus.HistogramVec // call
	tokens      *prometheus.CounterVec   // agent, type
	cost        *prometheus.CounterVec   // agent
	replayed    *prometheus.CounterVec   // call
	unknown     *prometheus.CounterVec   // call
	appended    prometheus.Counter
}

// seconds are the bounds of durations: from a store's sync to a long turn.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		turns:       counters("turns_total", "Turns that ended or were left for later, by agent and status.", "agent", "status"),
		turnSeconds: histograms("turn_seconds", "Time that this host spent on a turn, by agent.", "agent"),
		running:     prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "turns_running", Help: "Turns under way."}),
		calls:       counters("calls_total", "Host calls by name and outcome: ok or an error code. Calls answered by a journal are not among them.", "call", "outcome"),
		callSeconds: histograms("call_seconds", "Time that a performed host call took, by name.", "call"),
		tokens:      counters("tokens_total", "Tokens used by agent and type; those read from a provider's cache are also among the input.", "agent", "type"),
		cost:        counters("cost_usd_total", "US dollars spent on models with a price, by agent.", "agent"),
		replayed:    counters("calls_replayed_total", "Host calls that a journal answered, by name.", "call"),
		unknown:     counters("calls_unknown_total", "Host calls whose outcome a crash hid, by name.", "call"),
		appended:    prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "journal_entries_total", Help: "Journal entries that became durable."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "1, with the host's version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.turns, m.turnSeconds, m.running, m.calls, m.callSeconds, m.tokens, m.cost, m.replayed, m.unknown, m.appended, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

const prefix = "vespiary_"

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: seconds}, labels)
}

func (m *metrics) turn(agent string, status host.TurnStatus, took time.Duration) {
	m.running.Dec()
	m.turns.WithLabelValues(agent, string(status)).Inc()
	m.turnSeconds.WithLabelValues(agent).Observe(took.Seconds())
}

func (m *metrics) call(name, agent string, code abi.Code, u abi.Usage, took time.Duration) {
	label := callLabel(name)
	m.calls.WithLabelValues(label, outcome(code)).Inc()
	m.callSeconds.WithLabelValues(label).Observe(took.Seconds())
	if name == abi.CallAgentCall { // what the other agent used is counted as its own
		return
	}
	for kind, n := range map[string]int64{"input": u.InputTokens, "output": u.OutputTokens, "cache_read": u.CacheReadTokens} {
		if n > 0 {
			m.tokens.WithLabelValues(agent, kind).Add(float64(n))
		}
	}
	if u.CostMicros > 0 {
		m.cost.WithLabelValues(agent).Add(float64(u.CostMicros) / 1e6)
	}
}

// other stands for all names that a guest may make up.
const other = "other"

var calls = []string{
	abi.CallModelChat, abi.CallModelEmbed, abi.CallToolList, abi.CallToolCall, abi.CallMemorySession, abi.CallHTTPFetch,
	abi.CallFileRead, abi.CallFileWrite, abi.CallFileList,
	abi.CallAgentCall, abi.CallDelegateToken, abi.CallEmit, abi.CallAwait, abi.CallStart, abi.CallWait, "reply",
}

func callLabel(name string) string {
	if slices.Contains(calls, name) {
		return name
	}
	return other
}

var outcomes = []abi.Code{
	abi.CodeDenied, abi.CodeNeedsApproval, abi.CodeNotFound, abi.CodeInvalid, abi.CodeTimeout, abi.CodeRateLimited,
	abi.CodeBudgetExceeded, abi.CodeUnavailable, abi.CodeUnknownOutcome, abi.CodeCancelled, abi.CodeInternal,
}

func outcome(code abi.Code) string {
	switch {
	case code == "":
		return "ok"
	case slices.Contains(outcomes, code):
		return string(code)
	}
	return other
}

// Handler serves the metrics in Prometheus's text form.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.metrics.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Sources are asked whenever the metrics are read. Each may be nil.
type Sources struct {
	Sessions func(ctx context.Context) (map[host.SessionStatus]int, error)
	Store    func() StoreStats
}

// StoreStats are the store's counts since it was opened.
type StoreStats struct {
	Commits   uint64 // batches written
	Conflicts uint64 // batches refused because a precondition did not hold
	Refused   uint64 // batches refused for want of space
	Bytes     uint64 // of keys and values written
	Syncs     uint64 // of the redo log
	FreeBytes int64  // on its disk; 0 before the first commit
}

// Watch adds sources to the metrics. It is to be called once.
func (t *Telemetry) Watch(s Sources) { t.metrics.registry.MustRegister(&watcher{s}) }

// watcher turns sources into metrics.
type watcher struct{ sources Sources }

var (
	sessionsDesc = desc("sessions", "Sessions by status.", "status")
	storeDescs   = []*prometheus.Desc{
		desc("store_commits_total", "Batches that the store wrote."),
		desc("store_conflicts_total", "Batches that the store refused because a precondition did not hold."),
		desc("store_refused_total", "Batches that the store refused for want of space."),
		desc("store_written_bytes_total", "Bytes of keys and values that the store wrote."),
		desc("store_syncs_total", "Syncs of the store's redo log, each for a group of batches."),
	}
	freeDesc = desc("store_free_bytes", "Free space on the store's disk, as of its last commit.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (w *watcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append([]*prometheus.Desc{sessionsDesc, freeDesc}, storeDescs...) {
		ch <- d
	}
}

// scrapeTime bounds a count of the sessions.
const scrapeTime = 5 * time.Second

// Collect implements prometheus.Collector.
func (w *watcher) Collect(ch chan<- prometheus.Metric) {
	if w.sources.Sessions != nil {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		defer cancel()
		counts, err := w.sources.Sessions(ctx)
		if err != nil {
			ch <- prometheus.NewInvalidMetric(sessionsDesc, err)
		}
		for status, n := range counts {
			ch <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(n), string(status))
		}
	}
	if w.sources.Store == nil {
		return
	}
	s := w.sources.Store()
	for i, n := range []uint64{s.Commits, s.Conflicts, s.Refused, s.Bytes, s.Syncs} {
		ch <- prometheus.MustNewConstMetric(storeDescs[i], prometheus.CounterValue, float64(n))
	}
	ch <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(s.FreeBytes))
}
