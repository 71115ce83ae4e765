package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const sinkHelp = `app sink: takes webhooks on POST /hook, checks their signature, and lists them on GET /deliveries; keeps
the number of PUT /score?of=NAME, and answers who signs for it on GET /score?of=NAME.

X-Bellwether-Signature must be v1=HEX, the HMAC-SHA256 under the key HMAC_KEY of
TIMESTAMP.DELIVERY.HEX(SHA256(BODY)), where the first two are the headers X-Bellwether-Timestamp and
X-Bellwether-Delivery. It answers 200, or 401 when the signature is wrong; it keeps both.

The list has for each delivery, in the order of their first post: delivery, verified (every post of it was), body
(of the last post), at (when the last post came), attempts (posts), status (the last answer).

A score is asked for with X-Bellwether-Signature v1=HEX, the HMAC-SHA256 under the same key of
TIMESTAMP.GET.PATH?QUERY.HEX(SHA256("")). The answer is {"data": {"score": NUMBER}}; 401 when the signature is wrong, 404
as long as there is no number.

Environment: HMAC_KEY; FAIL_FIRST (0): so many posts of each delivery are answered 503, to try the sender's patience.

`

type delivery struct {
	Delivery string    `json:"delivery"`
	Verified bool      `json:"verified"`
	Body     string    `json:"body"`
	At       time.Time `json:"at"`
	Attempts int       `json:"attempts"`
	Status   int       `json:"status"`
}

type receiver struct {
	key       []byte
	failFirst int
	mu        sync.Mutex
	list      []*delivery
	scores    map[string]float64
}

// signature is what the sender of a request that says this, and has this body, must have sent.
func signature(key []byte, said []string, body []byte) string {
	digest := sha256.Sum256(body)
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, strings.Join(said, ".")+"."+hex.EncodeToString(digest[:]))
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (s *receiver) verified(h http.Header, body []byte, said ...string) bool {
	said = append([]string{h.Get("X-Bellwether-Timestamp")}, said...)
	want := signature(s.key, said, body)
	return !slices.Contains(said, "") && hmac.Equal([]byte(want), []byte(h.Get("X-Bellwether-Signature")))
}

func (s *receiver) setScore(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 100))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	score, err := strconv.ParseFloat(strings.TrimSpace(string(body)), 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scores[r.URL.Query().Get("of")] = score
}

func (s *receiver) score(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	score, known := s.scores[r.URL.Query().Get("of")]
	s.mu.Unlock()
	switch {
	case !s.verified(r.Header, nil, r.Method, r.RequestURI):
		http.Error(w, "the signature is wrong", http.StatusUnauthorized)
	case !known:
		http.Error(w, "nobody has scored it", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"data": map[string]float64{"score": score}})
	}
}

func (s *receiver) hook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.Header.Get("X-Bellwether-Delivery")
	verified := s.verified(r.Header, body, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.find(id)
	d.Attempts++
	d.Verified = d.Verified && verified
	d.Body, d.At = string(body), time.Now().UTC()
	switch {
	case !verified:
		d.Status = http.StatusUnauthorized
	case d.Attempts <= s.failFirst:
		d.Status = http.StatusServiceUnavailable
	default:
		d.Status = http.StatusOK
	}
	fmt.Printf("%s attempt %d: %d %s\n", d.Delivery, d.Attempts, d.Status, strings.TrimSpace(d.Body))
	w.WriteHeader(d.Status)
}

func (s *receiver) find(id string) *delivery {
	for _, d := range s.list {
		if d.Delivery == id {
			return d
		}
	}
	d := &delivery{Delivery: id, Verified: true}
	s.list = append(s.list, d)
	return d
}

func (s *receiver) deliveries(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(append([]*delivery{}, s.list...)) // an empty list, not null
}

func (s *receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", s.hook)
	mux.HandleFunc("GET /deliveries", s.deliveries)
	mux.HandleFunc("PUT /score", s.setScore)
	mux.HandleFunc("GET /score", s.score)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	return mux
}

func sink(args []string) error {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), sinkHelp); flags.PrintDefaults() }
	listen := flags.String("listen", ":8080", "address")
	flags.Parse(args)
	s := &receiver{key: []byte(os.Getenv("HMAC_KEY")), scores: map[string]float64{}}
	if len(s.key) == 0 {
		return errors.New("HMAC_KEY is not set")
	}
	if text := os.Getenv("FAIL_FIRST"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("FAIL_FIRST: %w", err)
		}
		s.failFirst = n
	}
	return http.ListenAndServe(*listen, s.handler())
}
