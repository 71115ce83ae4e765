package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func mustRead(t *testing.T, pairs ...string) settings {
	t.Helper()
	s, err := readSettings(env(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSettingsRefuseTypos(t *testing.T) {
	for _, pair := range [][2]string{{"ERROR_RATE", "1.5"}, {"ERROR_RATE", "NaN"}, {"LATENCY", "5"}, {"NEVER_READY", "yes"},
		{"ON_SIGTERM", "exit"}, {"CRASH_AFTER", "soon"}} {
		if _, err := readSettings(env(pair[0], pair[1])); err == nil {
			t.Errorf("%s=%s was taken", pair[0], pair[1])
		}
	}
	if s := mustRead(t, "CRASH_AFTER", "0"); s.crashAfter == nil || *s.crashAfter != 0 {
		t.Error("CRASH_AFTER=0 must crash at the start")
	}
	if s := mustRead(t); s.crashAfter != nil || s.die || s.drain != 5*time.Second || len(s.ports) != 1 {
		t.Errorf("defaults: %+v", s)
	}
	if s := mustRead(t, "PORT", "8080,8081"); len(s.ports) != 2 || s.ports[1] != "8081" {
		t.Errorf("two ports: %+v", s)
	}
}

func TestAnIncidentMakesRequestsFailForItsTime(t *testing.T) {
	server := httptest.NewServer(newApp(mustRead(t)))
	defer server.Close()
	post := func(query string) int {
		res, err := http.Post(server.URL+"/incident?"+query, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, query := range []string{"", "share=2&for=1s", "share=NaN&for=1s", "share=0.5", "share=0.5&for=soon"} {
		if code := post(query); code != http.StatusBadRequest {
			t.Errorf("%q was answered %d", query, code)
		}
	}
	if code, _, _ := get(t, server.URL); code != http.StatusOK {
		t.Errorf("%d before it", code)
	}
	if code := post("share=1&for=1h"); code != http.StatusOK {
		t.Errorf("it was answered %d", code)
	}
	if code, _, _ := get(t, server.URL); code != http.StatusInternalServerError {
		t.Errorf("%d in it", code)
	}
	post("share=1&for=0s")
	if code, _, _ := get(t, server.URL); code != http.StatusOK {
		t.Errorf("%d after it", code)
	}
}

func TestAPastHasATimeToEachSampleAndTheErrorsThatWereAskedFor(t *testing.T) {
	end := time.UnixMilli(1_700_000_000_000)
	lines := strings.Split(strings.TrimSpace(pageOfPast("shop-app", 50, 0.01, time.Hour, 5*time.Second, end)), "\n")[1:]
	if len(lines) != 2*721 {
		t.Fatalf("%d lines", len(lines))
	}
	var count, at int64
	last := func(line, code string) int64 {
		form := `traefik_service_requests_total{code="` + code + `",method="GET",protocol="http",service="shop-app"} %d %d`
		if n, err := fmt.Sscanf(line, form, &count, &at); n != 2 || err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return count
	}
	if n := last(lines[0], "200"); n != 0 || at != end.Add(-time.Hour).UnixMilli() {
		t.Errorf("it begins with %d at %d", n, at)
	}
	good, bad := last(lines[1440], "200"), last(lines[1441], "500")
	if at != end.UnixMilli() || good+bad != 180_000 || bad < 1_500 || bad > 2_100 {
		t.Errorf("%d good and %d bad at %d", good, bad, at)
	}
	if err := past([]string{"-service", "x", "-errors", "2"}); err == nil {
		t.Error("a share of 2 was taken")
	}
}

func get(t *testing.T, url string) (int, string, http.Header) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestOwnErrorsAreKnownAndCounted(t *testing.T) {
	s := mustRead(t, "VERSION", "v2", "ERROR_RATE", "1", "SCORE", "0.8")
	s.pod = "pod-1"
	server := httptest.NewServer(newApp(s))
	defer server.Close()
	for range 3 {
		code, _, h := get(t, server.URL)
		if code != 500 || h.Get("X-App") != "1" || h.Get("X-App-Version") != "v2" || h.Get("X-App-Pod") != "pod-1" {
			t.Fatalf("%d %v", code, h)
		}
	}
	_, text, _ := get(t, server.URL+"/metrics")
	for _, line := range []string{`http_requests_total{code="500",method="GET"} 3`, `http_requests_total{code="200",method="GET"} 0`,
		`http_request_duration_seconds_bucket{le="0.005"} 3`, `http_request_duration_seconds_bucket{le="+Inf"} 3`,
		`http_request_duration_seconds_count 3`, `eval_score_count 3`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	sum, _ := strconv.ParseFloat(regexp.MustCompile(`(?m)^eval_score_sum (\S+)`).FindStringSubmatch(text)[1], 64)
	if sum < 1.8 || sum > 3 {
		t.Errorf("three scores around 0.8 add up to %g", sum)
	}
}

func TestLatencyLandsInItsBucket(t *testing.T) {
	server := httptest.NewServer(newApp(mustRead(t, "LATENCY", "60ms")))
	defer server.Close()
	get(t, server.URL)
	_, text, _ := get(t, server.URL+"/metrics")
	for _, line := range []string{`_bucket{le="0.05"} 0`, `_bucket{le="5"} 1`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, "eval_score") {
		t.Error("eval_score series without SCORE")
	}
}

func TestReadiness(t *testing.T) {
	warming := newApp(mustRead(t, "WARMUP", "100ms"))
	never := newApp(mustRead(t, "NEVER_READY", "true"))
	answer := func(a *app) int {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		return w.Code
	}
	if answer(warming) != 503 {
		t.Error("ready before WARMUP is over")
	}
	time.Sleep(120 * time.Millisecond)
	if answer(warming) != 200 || answer(never) != 503 {
		t.Error("readiness after WARMUP")
	}
}

// brokenServer answers the first request of each connection and then drops the connection: at once when it is idle, or
// after it has read the second request. It counts the requests it has read.
func brokenServer(t *testing.T, whenIdle bool) (url string, read *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	read = new(atomic.Int64)
	readOne := func(r *bufio.Reader) bool {
		req, err := http.ReadRequest(r)
		if err != nil {
			return false
		}
		io.Copy(io.Discard, req.Body)
		read.Add(1)
		return true
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				if readOne(r) {
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-App: 1\r\nContent-Length: 0\r\n\r\n")
				}
				if !whenIdle {
					readOne(r)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String() + "/", read
}

func TestNoHiddenRetry(t *testing.T) {
	url, read := brokenServer(t, false)
	g := newGenerator(url, "", http1)
	first, second := g.send("a", true), g.send("b", true)
	if !first.Own || second.Own || second.Err == "" || second.cause() != "reset" {
		t.Errorf("%+v, then %+v", first, second)
	}
	if read.Load() != 2 {
		t.Errorf("2 requests were sent, %d came", read.Load())
	}
}

// A connection that breaks while idle is noticed either before it is used again, or by a request that is then lost.
// What must never be is a request more on the server than the generator sent.
func TestNoHiddenRetryOnIdleConnections(t *testing.T) {
	url, read := brokenServer(t, true)
	g := newGenerator(url, "", http1)
	own := 0
	for i := range 300 {
		if g.send(strconv.Itoa(i), true).Own {
			own++
		}
	}
	if int(read.Load()) != own {
		t.Errorf("%d requests came, %d have an answer", read.Load(), own)
	}
}

func TestLostIsWhatTheAppDidNotAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Request-Id") {
		case "own500":
			w.Header().Set("X-App", "1")
			w.Header().Set("X-App-Version", "v1")
			w.WriteHeader(500)
		case "gateway":
			w.WriteHeader(502)
		case "broken":
			w.Header().Set("X-App", "1")
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("half"))
		}
	}))
	g := newGenerator(server.URL, "", http1)
	var records []record
	for _, id := range []string{"own500", "gateway", "broken"} {
		records = append(records, g.send(id, false))
	}
	server.Close()
	records = append(records, g.send("refused", false))
	s := summarize(records)
	if s.Requests != 4 || s.Lost != 3 || s.ByVersion["v1"]["500"] != 1 || s.First["v1"] != records[0].T {
		t.Errorf("%+v", s)
	}
	for _, cause := range []string{"502", "reset", "refused"} {
		if s.LostBy[cause] != 1 {
			t.Errorf("no %s among %v", cause, s.LostBy)
		}
	}
}

func TestRateStaysWhenAnswersAreSlow(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(newApp(mustRead(t, "VERSION", "v1", "LATENCY", "300ms")))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	records := make(chan record, 1000)
	newGenerator(server.URL, "", http1).run(ctx, 100, 0.5, func(r record) { records <- r })
	close(records)
	total, kept := 0, 0
	for r := range records {
		total++
		if r.Kept {
			kept++
		}
		if !r.Own || r.Ms < 300 {
			t.Errorf("%+v", r)
		}
	}
	if total < 95 || total > 101 || kept < total/2-1 || kept > total/2+1 {
		t.Errorf("%d requests in a second at 100/s, %d of them kept", total, kept)
	}
	if c := int(connections.Load()); c < total-kept || c > total-kept+35 { // kept: at most those under way at a time
		t.Errorf("%d connections", c)
	}
}

func TestSink(t *testing.T) {
	s := &receiver{key: []byte("key"), failFirst: 1}
	server := httptest.NewServer(s.handler())
	defer server.Close()
	post := func(id, body, signature string) int {
		req, _ := http.NewRequest("POST", server.URL+"/hook", strings.NewReader(body))
		req.Header.Set("X-Bellwether-Timestamp", "1700000000")
		req.Header.Set("X-Bellwether-Delivery", id)
		req.Header.Set("X-Bellwether-Signature", signature)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	// From: printf '1700000000.d1.%s' "$(printf '{}' | sha256sum | cut -d' ' -f1)" | openssl dgst -sha256 -hmac key
	const good = "v1=c89f040c59ef2fdd087f38326fa824cfd9d42c8ef18b6ad7cd6e4aca0b3b5438"
	if code := post("d1", "{}", good); code != 503 {
		t.Errorf("first post: %d", code)
	}
	if code := post("d1", "{}", good); code != 200 {
		t.Errorf("second post: %d", code)
	}
	for i, bad := range [][2]string{{"{} ", good}, {"{}", "v1="}, {"{}", good[3:]}} {
		if code := post(fmt.Sprint("bad", i), bad[0], bad[1]); code != 401 {
			t.Errorf("%v: %d", bad, code)
		}
	}
	if code := post("d2", "{}", good); code != 401 {
		t.Errorf("signature of another delivery: %d", code)
	}
	if d := s.list[0]; d.Delivery != "d1" || !d.Verified || d.Attempts != 2 || d.Body != "{}" || d.Status != 200 {
		t.Errorf("%+v", d)
	}
	_, list, _ := get(t, server.URL+"/deliveries")
	if strings.Count(list, `"verified":false`) != 4 || strings.Count(list, `"verified":true`) != 1 {
		t.Error(list)
	}
}

func TestAScoreIsToldToWhoSigns(t *testing.T) {
	s := &receiver{key: []byte("key"), scores: map[string]float64{}}
	server := httptest.NewServer(s.handler())
	defer server.Close()
	ask := func(method, body, signature string) (int, string) {
		req, _ := http.NewRequest(method, server.URL+"/score?of=a", strings.NewReader(body))
		req.Header.Set("X-Bellwether-Timestamp", "1700000000")
		req.Header.Set("X-Bellwether-Signature", signature)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, strings.TrimSpace(string(text))
	}
	// From: printf '1700000000.GET./score?of=a.%s' "$(printf '' | sha256sum | cut -d' ' -f1)" | openssl dgst -sha256 -hmac key
	const good = "v1=c1af9a3429505c4d238569d5383571d87590acbfca667b1f90f975582c2c42ad"
	if code, text := ask("GET", "", good); code != 404 {
		t.Errorf("before there is one: %d %s", code, text)
	}
	if code, text := ask("PUT", "much", ""); code != 400 {
		t.Errorf("no number: %d %s", code, text)
	}
	if code, text := ask("PUT", "0.75", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	if code, text := ask("GET", "", good); code != 200 || text != `{"data":{"score":0.75}}` {
		t.Errorf("%d %s", code, text)
	}
	if code, text := ask("GET", "", good[:10]); code != 401 {
		t.Errorf("a wrong signature: %d %s", code, text)
	}
}

func TestEvalScoresTheShareOfGoodAnswers(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%4 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	if score := evaluate(server.URL, 40); score != 0.75 || asked.Load() != 40 {
		t.Errorf("score %g of %d questions", score, asked.Load())
	}
	server.Close()
	if score := evaluate(server.URL, 2); score != 0 {
		t.Errorf("nobody answers, and the score is %g", score)
	}
}

func TestEveryProtocolIsSpokenOverKeptAndNewConnections(t *testing.T) {
	server := httptest.NewUnstartedServer(newApp(mustRead(t, "VERSION", "v7")))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	var opened atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	secure, err := listenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Config.Serve(secure)
	for _, protocol := range protocols {
		url := server.URL
		if protocol == https {
			url = "https://" + secure.Addr().String()
		}
		g := newGenerator(url, "", protocol)
		for _, kept := range []bool{true, false, true, false} {
			if r := g.send("id", kept); !r.Own || r.Code != 200 || r.Version != "v7" {
				t.Errorf("%s: %+v", protocol, r)
			}
		}
		want := int64(3) // one that is kept, and one each for the others
		if protocol == webSocket {
			want = 4
		}
		if n := opened.Swap(0); n != want {
			t.Errorf("%s: %d connections, not %d", protocol, n, want)
		}
	}
}

func TestACallThatFailsIsAnErrorOfTheAppAndABrokenSessionIsLost(t *testing.T) {
	server := httptest.NewUnstartedServer(newApp(mustRead(t, "ERROR_RATE", "1")))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	if r := newGenerator(server.URL, "", grpc).send("id", true); !r.Own || r.Code != 500 {
		t.Errorf("%+v", r)
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-App", "1")
		ws, err := websocket.Accept(w, r, nil)
		if err == nil {
			ws.CloseNow()
		}
	}))
	defer broken.Close()
	if r := newGenerator(broken.URL, "", webSocket).send("id", true); r.Own || r.Err == "" {
		t.Errorf("%+v", r)
	}
}

func TestAGatewayThatDoesNotLookIntoTLSHearsWhoIsAskedFor(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewUnstartedServer(newApp(settings{}))
	server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- hello.ServerName
		return nil, nil
	}}
	server.StartTLS()
	defer server.Close()
	if r := newGenerator(server.URL, "shop.test", https).send("id", false); !r.Own {
		t.Errorf("%+v", r)
	}
	if name := <-asked; name != "shop.test" {
		t.Errorf("%q was asked for", name)
	}
}

func TestRequestsSayWhatElseTheyShall(t *testing.T) {
	said := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said <- r.Header.Get("X-Tester")
		newApp(settings{}).ServeHTTP(w, r)
	}))
	defer server.Close()
	for _, protocol := range []protocol{http1, webSocket} {
		g := newGenerator(server.URL, "", protocol)
		g.header = http.Header{"X-Tester": {"yes"}}
		if r := g.send("id", false); !r.Own || r.ID != "id" {
			t.Errorf("%s: %+v", protocol, r)
		}
		if word := <-said; word != "yes" {
			t.Errorf("%s: %q", protocol, word)
		}
	}
}
