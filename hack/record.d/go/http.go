package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
)

const (
	otelHTTPModule     = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	otelExporterModule = "go.opentelemetry.io/otel/exporters/prometheus"
)

func promHTTP() error {
	labels := []string{"code", "method"}
	requests := promauto.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests."}, labels)
	seconds := promauto.NewHistogramVec(
		prometheus.HistogramOpts{Name: "http_request_duration_seconds", Help: "Seconds.", Buckets: prometheus.DefBuckets}, labels)
	mux := shop(func(_ string, handler http.Handler) http.Handler {
		return promhttp.InstrumentHandlerDuration(seconds, promhttp.InstrumentHandlerCounter(requests, handler))
	})
	mux.Handle("/metrics", promhttp.Handler())
	return serve(mux)
}

func otelHTTP() error {
	if err := provider(); err != nil {
		return err
	}
	mux := shop(func(_ string, handler http.Handler) http.Handler { return handler })
	mux.Handle("/metrics", promhttp.Handler())
	return serve(otelhttp.NewHandler(mux, "shop"))
}

// provider sends what OpenTelemetry counts to the default registry.
func provider() error {
	reader, err := exporter.New()
	if err == nil {
		otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	}
	return err
}
