package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The past is what a Prometheus would know of a service that has long been there, for measurements that cannot wait for
// an hour: a page of metrics with a time to each sample. A Prometheus takes it that takes samples out of order.
func past(args []string) error {
	flags := flag.NewFlagSet("past", flag.ContinueOnError)
	service := flags.String("service", "", "the label service, as Traefik would write it")
	rate := flags.Int("rate", 50, "requests a second")
	share := flags.Float64("errors", 0, "the share of them that failed, one by one, from 0 to 1")
	length := flags.Duration("length", time.Hour, "how long it lasted, until now")
	every := flags.Duration("every", 5*time.Second, "how often it was scraped")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "app past: serves on :8080 /metrics with a past of traefik_service_requests_total, and /healthz.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *service == "" || *rate <= 0 || !(*share >= 0 && *share <= 1) || *every <= 0 || *length < *every {
		return errors.New("past: -service is needed, a -rate, -every and -length above 0, and -errors from 0 to 1")
	}
	page := pageOfPast(*service, *rate, *share, *length, *every, time.Now())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	failed := make(chan error, 1)
	go func() {
		failed <- http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/metrics" {
				w.Header().Set("Content-Type", "text/plain; version=0.0.4")
				io.WriteString(w, page)
			}
		}))
	}()
	select {
	case err := <-failed:
		return err
	case <-stop:
		return nil
	}
}

func pageOfPast(service string, rate int, share float64, length, every time.Duration, end time.Time) string {
	var good, bad int
	var b strings.Builder
	fmt.Fprintln(&b, "# TYPE traefik_service_requests_total counter")
	perScrape := int(float64(rate) * every.Seconds())
	for at := end.Add(-length); !at.After(end); at = at.Add(every) {
		for _, counted := range []struct {
			code  string
			count int
		}{{"200", good}, {"500", bad}} {
			fmt.Fprintf(&b, "traefik_service_requests_total{code=%q,method=\"GET\",protocol=\"http\",service=%q} %d %d\n",
				counted.code, service, counted.count, at.UnixMilli())
		}
		for range perScrape {
			if rand.Float64() < share {
				bad++
			} else {
				good++
			}
		}
	}
	return b.String()
}
