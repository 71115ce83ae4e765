package main

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	classic "github.com/grpc-ecosystem/go-grpc-prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	grpcModule     = "google.golang.org/grpc"
	otelGRPCModule = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
)

func grpcPrometheus() error {
	classic.EnableHandlingTimeHistogram()
	return calls(prometheus.DefaultGatherer,
		grpc.UnaryInterceptor(classic.UnaryServerInterceptor), grpc.StreamInterceptor(classic.StreamServerInterceptor))
}

func grpcMiddleware() error {
	counted := middleware.NewServerMetrics(middleware.WithServerHandlingTimeHistogram())
	// The default registry has the other library's counters, which have the same names.
	registry := prometheus.NewRegistry()
	registry.MustRegister(counted)
	return calls(registry,
		grpc.UnaryInterceptor(counted.UnaryServerInterceptor()), grpc.StreamInterceptor(counted.StreamServerInterceptor()))
}

func otelGRPC() error {
	if err := provider(); err != nil {
		return err
	}
	return calls(prometheus.DefaultGatherer, grpc.StatsHandler(otelgrpc.NewServerHandler()))
}

// method is one of the shop's: what it ends with, and how often it is called.
type method struct {
	name  string
	times int
	end   func() error
}

var methods = []method{
	{"Pay", 24, func() error { return nil }},
	{"Slow", 4, func() error { time.Sleep(slow); return nil }},
	{"Fail", 3, func() error { return status.Error(codes.Internal, "as it was asked to") }},
	{"Broken", 2, func() error { return errors.New("broken, as it was asked to be") }},
	{"None", 2, func() error { return status.Error(codes.NotFound, "as it was asked to") }},
}

func checkout() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: "shop.Checkout", HandlerType: (*any)(nil)}
	for _, it := range methods {
		full := "/shop.Checkout/" + it.name
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: it.name,
			Handler: func(srv any, ctx context.Context, decode func(any) error, wrap grpc.UnaryServerInterceptor) (any, error) {
				request := new(emptypb.Empty)
				if err := decode(request); err != nil {
					return nil, err
				}
				handler := func(context.Context, any) (any, error) { return new(emptypb.Empty), it.end() }
				if wrap == nil {
					return handler(ctx, request)
				}
				return wrap(ctx, request, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, handler)
			},
		})
	}
	return desc
}

// calls serves the shop, calls it as users and probes do, and prints the page.
func calls(from prometheus.Gatherer, options ...grpc.ServerOption) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(options...)
	server.RegisterService(checkout(), struct{}{})
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	go func() { _ = server.Serve(listener) }()
	client, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	ctx := context.Background()
	for _, it := range methods {
		for range it.times {
			_ = client.Invoke(ctx, "/shop.Checkout/"+it.name, new(emptypb.Empty), new(emptypb.Empty))
		}
	}
	for range 6 {
		_, _ = healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{Service: "of nobody"})
	}
	for range 2 {
		if err := reflect(ctx, client); err != nil {
			return err
		}
	}
	server.GracefulStop()
	return page(from)
}

func reflect(ctx context.Context, client *grpc.ClientConn) error {
	stream, err := reflectionpb.NewServerReflectionClient(client).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	request := &reflectionpb.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: request}); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return stream.CloseSend()
}

func page(from prometheus.Gatherer) error {
	families, err := from.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(os.Stdout, family); err != nil {
			return err
		}
	}
	return nil
}
