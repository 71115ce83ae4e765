// Command record serves the routes of a shop under one of Go's libraries that count requests, as its guide has it. Those of
// HTTP listen at PORT; those of gRPC call themselves and print their page.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

const slow = 400 * time.Millisecond

// library is what is recorded, and the modules that say its version.
type library struct {
	modules []string
	run     func() error
}

var libraries = map[string]library{
	"go-promhttp":        {[]string{"github.com/prometheus/client_golang"}, promHTTP},
	"go-otelhttp":        {[]string{otelHTTPModule, otelExporterModule}, otelHTTP},
	"go-grpc-prometheus": {[]string{"github.com/grpc-ecosystem/go-grpc-prometheus", grpcModule}, grpcPrometheus},
	"go-grpc-middleware": {[]string{"github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus", grpcModule}, grpcMiddleware},
	"go-otelgrpc":        {[]string{otelGRPCModule, otelExporterModule}, otelGRPC},
}

func main() {
	chosen, known := libraries[os.Args[1]]
	if !known {
		log.Fatalf("there is no library called %s", os.Args[1])
	}
	if len(os.Args) > 2 && os.Args[2] == "about" {
		fmt.Println(about(chosen.modules))
		return
	}
	if err := chosen.run(); err != nil {
		log.Fatal(err)
	}
}

func about(modules []string) string {
	info, _ := debug.ReadBuildInfo()
	words := make([]string, 0, len(modules))
	for _, module := range modules {
		for _, dep := range info.Deps {
			if dep.Path == module {
				words = append(words, module+" "+dep.Version)
			}
		}
	}
	text := strings.Join(words, " with ")
	if optIn := os.Getenv("OTEL_SEMCONV_STABILITY_OPT_IN"); optIn != "" {
		text += ", OTEL_SEMCONV_STABILITY_OPT_IN=" + optIn
	}
	return text
}

// shop answers what users and probes ask for. It panics where it is broken.
func shop(wrapped func(path string, handler http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	status := func(code int) http.HandlerFunc {
		return func(answer http.ResponseWriter, _ *http.Request) { answer.WriteHeader(code) }
	}
	for path, handler := range map[string]http.HandlerFunc{
		"/pay":     status(http.StatusOK),
		"/fail":    status(http.StatusInternalServerError),
		"/healthz": status(http.StatusServiceUnavailable),
		"/slow":    func(http.ResponseWriter, *http.Request) { time.Sleep(slow) },
		"/broken":  func(http.ResponseWriter, *http.Request) { panic("broken, as it was asked to be") },
		"/":        http.NotFound,
	} {
		mux.Handle(path, wrapped(path, handler))
	}
	return mux
}

func serve(handler http.Handler) error {
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler)
}
