package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	// WebSockets as both ends of a test speak them; it depends on nothing else.
	"github.com/coder/websocket"
)

// protocol is a way to send one request and to know whether it came through.
type protocol string

const (
	http1 protocol = "http1"
	// h2c is HTTP/2 without TLS, as meshes and gateways speak it to pods.
	h2c protocol = "h2c"
	// grpc is a unary call: a message in a frame each way, and a status behind the answer.
	grpc protocol = "grpc"
	// webSocket is a session that says something now and then, and is lost when it breaks before it is closed.
	webSocket protocol = "websocket"
	// https is HTTP/1.1 within TLS, of which a gateway on the way sees the name that is asked for and no more.
	https protocol = "https"
)

var protocols = []protocol{http1, h2c, grpc, webSocket, https}

const (
	// sessionLasts is how long a WebSocket is open.
	sessionLasts = time.Second
	sayings      = 4
)

// client sends requests for this host: a gateway that does not look into TLS needs to hear of it there.
func (p protocol) client(host string, keep bool) *http.Client {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: answerTimeout}).DialContext,
		DisableKeepAlives:   !keep,
		MaxIdleConnsPerHost: 1 << 16,
		DisableCompression:  true,
	}
	if p == h2c || p == grpc {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if p == https {
		transport.TLSClientConfig = &tls.Config{ServerName: host, InsecureSkipVerify: true}
	}
	return &http.Client{
		Timeout:       answerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transport,
	}
}

// body is what a request says. Without GetBody it is not sent again, not even when nothing of it was written.
func (p protocol) body() string {
	if p == grpc {
		return frame("load\n")
	}
	return "load\n"
}

// frame is a message as gRPC writes it: not compressed, its length, itself.
func frame(message string) string {
	head := make([]byte, 5)
	binary.BigEndian.PutUint32(head[1:], uint32(len(message)))
	return string(head) + message
}

func (p protocol) prepare(req *http.Request) {
	if p == grpc {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
		req.URL.Path = "/app.App/Work"
	}
}

// trailing is what is wrong with an answer whose end has been read.
func (p protocol) trailing(res *http.Response) error {
	if status := res.Trailer.Get("Grpc-Status"); p == grpc && status == "" && res.Header.Get("Grpc-Status") == "" {
		return fmt.Errorf("an answer without a status of gRPC")
	}
	return nil
}

// converse holds a session of a WebSocket from its beginning to its end.
func (r *record) converse(client *http.Client, g *generator) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	options := &websocket.DialOptions{HTTPClient: client, HTTPHeader: g.head(r.ID), Host: g.host}
	ws, res, err := websocket.Dial(ctx, g.url, options)
	if res != nil {
		r.Code, r.Version, r.Pod = res.StatusCode, res.Header.Get("X-App-Version"), res.Header.Get("X-App-Pod")
	}
	if err != nil {
		r.Err = err.Error()
		return
	}
	defer ws.CloseNow()
	for range sayings {
		if err := ws.Write(ctx, websocket.MessageText, []byte(r.ID)); err != nil {
			r.Err = "broken session: " + err.Error()
			return
		}
		if _, said, err := ws.Read(ctx); err != nil || string(said) != r.ID {
			r.Err = fmt.Sprintf("broken session: %q: %v", said, err)
			return
		}
		time.Sleep(sessionLasts / sayings)
	}
	// That it was opened and answered is a success; it has no other status.
	r.Code, r.Own = http.StatusOK, res.Header.Get("X-App") == "1"
	ws.Close(websocket.StatusNormalClosure, "")
}

// isCall says whether a request is a call of gRPC.
func isCall(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// answerCall says in the way of gRPC what another request would be told by its status.
func answerCall(w http.ResponseWriter, code int, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Trailer", "Grpc-Status")
	status := "0"
	if code >= 500 {
		status = "13"
	}
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, frame(message))
	h.Set("Grpc-Status", status)
}

// echo says again what is said in a WebSocket, until the other end closes it or goes.
func echo(w http.ResponseWriter, r *http.Request) error {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	for {
		kind, said, err := ws.Read(r.Context())
		if err != nil {
			return nil
		}
		if err := ws.Write(r.Context(), kind, said); err != nil {
			return nil
		}
	}
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// ownCertificate is one that nobody else knows, made now.
func ownCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
