// Command grpcload measures gRPC streams: one side echoes every message, the other keeps one message in flight on each of
// N streams of C connections and prints how many came back, and how long they took, as JSON.
//
// Messages are opaque bytes, so that what is measured is the streams and not their contents.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

const (
	codecName = "raw"
	method    = "/isthmus.bench.Echo/Stream"
)

type raw struct{ data []byte }

// rawCodec passes bytes through.
type rawCodec struct{}

func (rawCodec) Name() string { return codecName }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*raw).data)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*raw).data = data.Materialize()
	return nil
}

var stream = grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}

func echo(_ any, s grpc.ServerStream) error {
	for {
		message := new(raw)
		if err := s.RecvMsg(message); err != nil {
			return nil
		}
		if err := s.SendMsg(message); err != nil {
			return err
		}
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	served := stream
	served.Handler = echo
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "isthmus.bench.Echo", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{served},
	}, nil)
	return server.Serve(listener)
}

type outcome struct {
	mutex     sync.Mutex
	latencies []float64 // microseconds
	errors    int
	first     string
}

func (o *outcome) add(latencies []float64, err error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.latencies = append(o.latencies, latencies...)
	if err != nil {
		o.errors++
		if o.first == "" {
			o.first = err.Error()
		}
	}
}

func pingPong(client *grpc.ClientConn, size int, from, until time.Time) (latencies []float64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := client.NewStream(ctx, &stream, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return nil, err
	}
	message := &raw{make([]byte, size)}
	for started := time.Now(); started.Before(until); {
		if err = s.SendMsg(message); err != nil {
			return latencies, err
		}
		answer := new(raw)
		if err = s.RecvMsg(answer); err != nil {
			return latencies, err
		}
		now := time.Now()
		if len(answer.data) != size {
			return latencies, fmt.Errorf("%d bytes came back for %d", len(answer.data), size)
		}
		if started.After(from) {
			latencies = append(latencies, float64(now.Sub(started).Nanoseconds())/1e3)
		}
		started = now
	}
	return latencies, s.CloseSend()
}

func percentile(ordered []float64, share float64) float64 {
	if len(ordered) == 0 {
		return 0
	}
	return ordered[min(len(ordered)-1, int(share*float64(len(ordered))))]
}

func load(address string, connections, streams, size int, warmUp, seconds float64) error {
	began := time.Now()
	from := began.Add(time.Duration(warmUp * 1e9))
	until := from.Add(time.Duration(seconds * 1e9))
	var all outcome
	var wait sync.WaitGroup
	for range connections {
		client, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer client.Close()
		for range streams {
			wait.Go(func() { all.add(pingPong(client, size, from, until)) })
		}
	}
	wait.Wait()
	sort.Float64s(all.latencies)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"messages": len(all.latencies), "p50_us": percentile(all.latencies, 0.5), "p99_us": percentile(all.latencies, 0.99),
		"errors": all.errors, "first_error": all.first,
	})
}

func main() {
	encoding.RegisterCodecV2(rawCodec{})
	listen := flag.String("listen", "", "serve here; without it, load -target")
	target := flag.String("target", "", "HOST:PORT of the server")
	connections := flag.Int("connections", 1, "")
	streams := flag.Int("streams", 1, "per connection")
	size := flag.Int("size", 100, "bytes of a message")
	warmUp := flag.Float64("warmup", 1, "seconds before what is measured")
	seconds := flag.Float64("seconds", 5, "")
	flag.Parse()
	var err error
	if *listen != "" {
		err = serve(*listen)
	} else {
		err = load(*target, *connections, *streams, *size, *warmUp, *seconds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
