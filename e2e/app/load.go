package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const loadHelp = `app load: sends requests at a constant rate, however slow the answers are, and loses none from sight.

Each request is a POST with a body that cannot be sent twice, for both Go's client here and the one in Traefik would
silently send a GET again when a kept connection breaks, and with it hide a lost request. Each has its own
X-Request-Id. With -protocol websocket a request is a session of a second, which is lost when it breaks. It ends after -duration, or on SIGTERM or SIGINT, waits for what is under way, and prints a summary.

-out FILE gets a JSON line for each request, when it ends:
  t        start, Unix time in milliseconds
  ms       how long it took
  code     status (0: no answer)
  version, pod   of the app that answered
  own      whether the app itself answered; else the request is lost
  err      why there was no answer
  id       its X-Request-Id
  kept     whether it was meant for a kept connection

The summary: requests, lost (no answer within 10 s, or one that is not the app's own), lost_by (cause: count),
by_version (version: code: count), p50_ms and p99_ms (of all requests), first_ms and last_ms (version: start, in Unix
milliseconds, of the first and the last request it answered).

`

type record struct {
	T       float64 `json:"t"`
	Ms      float64 `json:"ms"`
	Code    int     `json:"code"`
	Version string  `json:"version"`
	Pod     string  `json:"pod"`
	Own     bool    `json:"own"`
	Err     string  `json:"err,omitempty"`
	ID      string  `json:"id"`
	Kept    bool    `json:"kept"`
}

type summary struct {
	Requests  int                       `json:"requests"`
	Lost      int                       `json:"lost"`
	LostBy    map[string]int            `json:"lost_by"`
	ByVersion map[string]map[string]int `json:"by_version"`
	P50       float64                   `json:"p50_ms"`
	P99       float64                   `json:"p99_ms"`
	First     map[string]float64        `json:"first_ms"`
	Last      map[string]float64        `json:"last_ms"`
}

const answerTimeout = 10 * time.Second

// generator sends single requests, each over a kept or over a new connection.
type generator struct {
	url, host string
	// What else the head of each request says.
	header    http.Header
	protocol  protocol
	kept, new *http.Client
}

func newGenerator(url, host string, protocol protocol) *generator {
	return &generator{url: url, host: host, protocol: protocol, kept: protocol.client(host, true), new: protocol.client(host, false)}
}

func (g *generator) send(id string, kept bool) record {
	client := g.new
	switch {
	case kept:
		client = g.kept
	case g.protocol == h2c || g.protocol == grpc:
		// Of one client two requests could meet on a connection that the first of them closes.
		client = g.protocol.client(g.host, true)
		defer client.CloseIdleConnections()
	}
	begin := time.Now()
	r := record{T: float64(begin.UnixMicro()) / 1000, ID: id, Kept: kept}
	if g.protocol == webSocket {
		r.converse(client, g)
	} else {
		r.ask(client, g)
	}
	r.Ms = math.Round(float64(time.Since(begin).Microseconds())) / 1000
	return r
}

// head is what is said of each request.
func (g *generator) head(id string) http.Header {
	head := g.header.Clone()
	if head == nil {
		head = http.Header{}
	}
	head.Set("X-Request-Id", id)
	return head
}

func (r *record) ask(client *http.Client, g *generator) {
	// A POST is not replayed once it was written, and without GetBody not even when nothing of it was.
	req, err := http.NewRequest(http.MethodPost, g.url, strings.NewReader(g.protocol.body()))
	if err != nil {
		r.Err = err.Error()
		return
	}
	req.GetBody = nil
	req.Host = g.host
	req.Header = g.head(r.ID)
	g.protocol.prepare(req)
	res, err := client.Do(req)
	if err != nil {
		r.Err = err.Error()
		return
	}
	defer res.Body.Close()
	r.Code, r.Version, r.Pod = res.StatusCode, res.Header.Get("X-App-Version"), res.Header.Get("X-App-Pod")
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		r.Err = "broken answer: " + err.Error()
		return
	}
	if err := g.protocol.trailing(res); err != nil {
		r.Err = err.Error()
		return
	}
	if res.Trailer.Get("Grpc-Status") == "13" {
		r.Code = http.StatusInternalServerError
	}
	r.Own = res.Header.Get("X-App") == "1"
}

// cause is why a request is lost, in few different words.
func (r record) cause() string {
	switch {
	case r.Err == "":
		return strconv.Itoa(r.Code)
	case strings.Contains(r.Err, "Client.Timeout") || strings.Contains(r.Err, "i/o timeout"):
		return "timeout"
	case strings.Contains(r.Err, "connection refused"):
		return "refused"
	case strings.Contains(r.Err, "connection reset") || strings.Contains(r.Err, "EOF"):
		return "reset"
	}
	return "other"
}

func summarize(records []record) summary {
	s := summary{Requests: len(records), LostBy: map[string]int{}, ByVersion: map[string]map[string]int{},
		First: map[string]float64{}, Last: map[string]float64{}}
	var took []float64
	for _, r := range records {
		took = append(took, r.Ms)
		if !r.Own {
			s.Lost++
			s.LostBy[r.cause()]++
			continue
		}
		if s.ByVersion[r.Version] == nil {
			s.ByVersion[r.Version] = map[string]int{}
			s.First[r.Version] = r.T
		}
		s.ByVersion[r.Version][strconv.Itoa(r.Code)]++
		s.First[r.Version] = min(s.First[r.Version], r.T)
		s.Last[r.Version] = max(s.Last[r.Version], r.T)
	}
	slices.Sort(took)
	if n := len(took); n > 0 {
		s.P50, s.P99 = took[(n-1)/2], took[(n-1)*99/100]
	}
	return s
}

// run starts a request at each instant that the rate asks for, until ctx ends, and hands over each when it is done.
func (g *generator) run(ctx context.Context, rate, newShare float64, done func(record)) {
	var wait sync.WaitGroup
	defer wait.Wait()
	begin := time.Now()
	run := strconv.FormatInt(begin.UnixNano(), 36)
	fresh := 0
	for i := 0; ; i++ {
		due := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if pause := time.Until(due); pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		if ctx.Err() != nil {
			return
		}
		kept := float64(fresh) >= newShare*float64(i+1)
		if !kept {
			fresh++
		}
		wait.Go(func() { done(g.send(fmt.Sprintf("%s-%d", run, i), kept)) })
	}
}

func load(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), loadHelp); flags.PrintDefaults() }
	url := flags.String("url", "http://127.0.0.1:8080/", "where requests go")
	host := flags.String("host", "", "Host header (default: that of the URL)")
	rate := flags.Float64("rate", 50, "requests a second")
	duration := flags.Duration("duration", time.Minute, "for how long")
	out := flags.String("out", "", "file that gets a line for each request")
	share := flags.Float64("new-connections", 0.5, "share of requests that have a new connection each")
	header := http.Header{}
	flags.Func("header", "a header that each request has besides, written name=value; may be repeated", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("not name=value")
		}
		header.Add(name, value)
		return nil
	})
	spoken := flags.String("protocol", string(http1), fmt.Sprintf("how requests are sent, one of %v", protocols))
	flags.Parse(args)
	if !slices.Contains(protocols, protocol(*spoken)) {
		return fmt.Errorf("-protocol is one of %v", protocols)
	}
	if flags.NArg() > 0 || !(*rate > 0) || !(*share >= 0 && *share <= 1) {
		return errors.New("-rate must be above 0, -new-connections from 0 to 1, and there are no other arguments")
	}
	file := io.Discard
	if *out != "" {
		f, err := os.Create(*out)
		if err != nil {
			return err
		}
		defer f.Close()
		file = f
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	var mu sync.Mutex
	var records []record
	var failed error
	lines := json.NewEncoder(file)
	g := newGenerator(*url, *host, protocol(*spoken))
	g.header = header
	g.run(ctx, *rate, *share, func(r record) {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
		if err := lines.Encode(r); err != nil {
			failed = err
		}
	})
	if failed != nil {
		return failed
	}
	return json.NewEncoder(os.Stdout).Encode(summarize(records))
}
