package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const serveHelp = `app serve: an HTTP server on :8080 that answers / (any path, any method), /healthz and /metrics.

It speaks HTTP/1.1 and HTTP/2 without TLS, takes calls of gRPC, and echoes what is said in WebSockets.
POST /incident?share=0.2&for=20s makes it answer 500 to that share of requests for so long, whatever it was started with.

Every answer has the headers X-App: 1, X-App-Version and X-App-Pod, so that it can be told from a gateway's.
It behaves as the environment says; durations are written 250ms, 5s, or 0:
  PORT               port (8080), or several: 8080,8081
  TLS_PORT           port at which it speaks HTTP/1.1 within TLS as well, with a certificate of its own making
  VERSION            what X-App-Version says
  ERROR_RATE         share of requests answered 500, from 0 to 1
  LATENCY            how long each request takes at least
  LATENCY_JITTER     up to so much is added, evenly spread
  SCORE              mean score of an evaluated request; without it there are no eval_score series
  WARMUP             /healthz answers 503 for so long after the start
  NEVER_READY        true: /healthz always answers 503
  CRASH_AFTER        exits 1 so long after the start; 0: before it listens
  CRASH_AFTER_READY  exits 1 so long after /healthz first answered 200
  ON_SIGTERM         drain (default): serves on for DRAIN, then finishes what it has; die: exits at once
  DRAIN              how long (5s): routers must have stopped sending by then
`

type settings struct {
	version, pod                   string
	ports                          []string
	tlsPort                        string
	errorRate                      float64
	latency, jitter, warmup, drain time.Duration
	crashAfter, crashAfterReady    *time.Duration
	score                          *float64
	neverReady, die                bool
}

// readSettings refuses what it does not understand: a typo must not look like good behaviour.
func readSettings(env func(string) string) (s settings, err error) {
	fail := func(name string, e error) {
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s=%q: %w", name, env(name), e))
		}
	}
	optionalDuration := func(name string) *time.Duration {
		if env(name) == "" {
			return nil
		}
		d, e := time.ParseDuration(env(name))
		fail(name, e)
		return &d
	}
	duration := func(name string, fallback time.Duration) time.Duration {
		if d := optionalDuration(name); d != nil {
			return *d
		}
		return fallback
	}
	optionalNumber := func(name string, max float64) *float64 {
		if env(name) == "" {
			return nil
		}
		f, e := strconv.ParseFloat(env(name), 64)
		fail(name, e)
		if e == nil && !(f >= 0 && f <= max) {
			fail(name, fmt.Errorf("not from 0 to %g", max))
		}
		return &f
	}

	s.ports, s.version = []string{"8080"}, env("VERSION")
	if env("PORT") != "" {
		s.ports = strings.Split(env("PORT"), ",")
	}
	s.tlsPort = env("TLS_PORT")
	if rate := optionalNumber("ERROR_RATE", 1); rate != nil {
		s.errorRate = *rate
	}
	s.score = optionalNumber("SCORE", 1e9)
	s.latency, s.jitter = duration("LATENCY", 0), duration("LATENCY_JITTER", 0)
	s.warmup, s.drain = duration("WARMUP", 0), duration("DRAIN", 5*time.Second)
	s.crashAfter, s.crashAfterReady = optionalDuration("CRASH_AFTER"), optionalDuration("CRASH_AFTER_READY")
	switch env("NEVER_READY") {
	case "true":
		s.neverReady = true
	case "", "false":
	default:
		fail("NEVER_READY", errors.New("neither true nor false"))
	}
	switch env("ON_SIGTERM") {
	case "die":
		s.die = true
	case "", "drain":
	default:
		fail("ON_SIGTERM", errors.New("neither die nor drain"))
	}
	return s, err
}

func serve(args []string) error {
	if len(args) > 0 {
		fmt.Print(serveHelp)
		return nil
	}
	s, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	if s.pod, err = os.Hostname(); err != nil {
		return err
	}
	// As process 1 of a container the default action of SIGTERM is to be ignored, so even dying is our own doing.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if s.crashAfter != nil {
		if *s.crashAfter <= 0 {
			crash("at the start")
		}
		time.AfterFunc(*s.crashAfter, func() { crash("CRASH_AFTER is over") })
	}

	server := &http.Server{Handler: newApp(s), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	failed := make(chan error, len(s.ports)+1)
	for _, port := range s.ports {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	if s.tlsPort != "" {
		listener, err := listenTLS(":" + s.tlsPort)
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	fmt.Printf("version %q serves on %v\n", s.version, s.ports)
	select {
	case err := <-failed:
		return err
	case <-stop:
	}
	if s.die {
		os.Exit(128 + int(syscall.SIGTERM))
	}
	fmt.Println("draining for", s.drain)
	time.Sleep(s.drain)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func listenTLS(address string) (net.Listener, error) {
	certificate, err := ownCertificate()
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{certificate}})
}

func crash(why string) {
	fmt.Fprintln(os.Stderr, "app: crashing on purpose:", why)
	os.Exit(1)
}

type app struct {
	settings
	started time.Time
	ready   sync.Once
	metrics metrics
	// What befalls it now, nil for nothing.
	incident atomic.Pointer[incident]
}

// incident is a time in which more requests fail than else.
type incident struct {
	share float64
	end   time.Time
}

func newApp(s settings) *app {
	return &app{settings: s, started: time.Now(), metrics: newMetrics()}
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-App", "1")
	h.Set("X-App-Version", a.version)
	h.Set("X-App-Pod", a.pod)
	switch r.URL.Path {
	case "/healthz":
		a.healthz(w)
	case "/metrics":
		h.Set("Content-Type", "text/plain; version=0.0.4")
		a.metrics.write(w, a.score != nil)
	case "/incident":
		a.befall(w, r)
	default:
		a.work(w, r)
	}
}

func (a *app) healthz(w http.ResponseWriter) {
	if a.neverReady || time.Since(a.started) < a.warmup {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	a.ready.Do(func() {
		if a.crashAfterReady != nil {
			time.AfterFunc(*a.crashAfterReady, func() { crash("CRASH_AFTER_READY is over") })
		}
	})
	io.WriteString(w, "ok\n")
}

func (a *app) befall(w http.ResponseWriter, r *http.Request) {
	share, wrongShare := strconv.ParseFloat(r.URL.Query().Get("share"), 64)
	length, wrongLength := time.ParseDuration(r.URL.Query().Get("for"))
	if r.Method != http.MethodPost || wrongShare != nil || wrongLength != nil || !(share >= 0 && share <= 1) {
		http.Error(w, "POST it with a share from 0 to 1 and for, a duration", http.StatusBadRequest)
		return
	}
	a.incident.Store(&incident{share: share, end: time.Now().Add(length)})
	io.WriteString(w, "ok\n")
}

// failing is the share of requests that fail now.
func (a *app) failing() float64 {
	if now := a.incident.Load(); now != nil && time.Now().Before(now.end) {
		return now.share
	}
	return a.errorRate
}

func (a *app) work(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	if isWebSocket(r) {
		if err := echo(w, r); err != nil {
			fmt.Fprintln(os.Stderr, "app: no WebSocket:", err)
			return
		}
		a.metrics.request(r.Method, http.StatusOK, time.Since(begin))
		return
	}
	io.Copy(io.Discard, r.Body) // a body left unread would cost the connection
	pause := a.latency
	if a.jitter > 0 {
		pause += rand.N(a.jitter)
	}
	time.Sleep(pause)
	code := http.StatusOK
	if rand.Float64() < a.failing() {
		code = http.StatusInternalServerError
	}
	a.metrics.request(r.Method, code, time.Since(begin))
	if a.score != nil {
		a.metrics.score(max(0, *a.score*(1+0.05*rand.NormFloat64())))
	}
	if isCall(r) {
		answerCall(w, code, a.version)
		return
	}
	w.WriteHeader(code)
	fmt.Fprintf(w, "%s\n", a.version)
}

// metrics is the little of the Prometheus text format that is needed.
type metrics struct {
	mu                            *sync.Mutex
	requests                      map[[2]string]int64 // by code and method
	buckets                       []int64             // by the first bound that holds the value, not cumulative
	sum                           float64
	scores, scoreSum, scoreSquare float64
}

var bounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// newMetrics starts the usual counters at 0, for a rate misses what a series begins with.
func newMetrics() metrics {
	m := metrics{mu: new(sync.Mutex), requests: map[[2]string]int64{}, buckets: make([]int64, len(bounds)+1)}
	for _, code := range []string{"200", "500"} {
		for _, method := range []string{"GET", "POST"} {
			m.requests[[2]string{code, method}] = 0
		}
	}
	return m
}

func (m *metrics) request(method string, code int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[[2]string{strconv.Itoa(code), method}]++
	bucket := 0
	for bucket < len(bounds) && took.Seconds() > bounds[bucket] {
		bucket++
	}
	m.buckets[bucket]++
	m.sum += took.Seconds()
}

func (m *metrics) score(score float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scores++
	m.scoreSum += score
	m.scoreSquare += score * score
}

func (m *metrics) write(w io.Writer, scored bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintln(&b, "# TYPE http_requests_total counter")
	for key, n := range m.requests {
		fmt.Fprintf(&b, "http_requests_total{code=%q,method=%q} %d\n", key[0], key[1], n)
	}
	fmt.Fprintln(&b, "# TYPE http_request_duration_seconds histogram")
	total := int64(0)
	for i, n := range m.buckets {
		total += n
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		fmt.Fprintf(&b, "http_request_duration_seconds_bucket{le=%q} %d\n", le, total)
	}
	fmt.Fprintf(&b, "http_request_duration_seconds_sum %g\nhttp_request_duration_seconds_count %d\n", m.sum, total)
	if scored {
		fmt.Fprintf(&b, "# TYPE eval_score_count counter\neval_score_count %g\n", m.scores)
		fmt.Fprintf(&b, "# TYPE eval_score_sum counter\neval_score_sum %g\n", m.scoreSum)
		fmt.Fprintf(&b, "# TYPE eval_score_sumsq counter\neval_score_sumsq %g\n", m.scoreSquare)
	}
	io.WriteString(w, b.String())
}
