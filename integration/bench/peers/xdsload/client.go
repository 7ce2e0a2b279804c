package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	maxMessage   = 256 << 20
)

// resource is what SotW and delta responses have in common: a name (delta only), and the packed message.
type resource struct {
	name string
	body []byte
}

// stream is one ADS stream of either variant, as far as a mock client needs it.
type stream interface {
	// subscribe asks for names of a type (none: everything) in the first request for that type.
	subscribe(typeURL string, names []string, node *corev3.Node) error
	// receive waits for a response, and returns its type and what it carries.
	receive() (string, []resource, error)
	// acknowledge answers the latest response.
	acknowledge() error
}

type client struct {
	number  int
	options options
	board   *board
	opened  time.Time
	release func()          // gives the place among the clients that start up to the next one
	wanted  map[string]bool // names of the first configuration that have not come yet; nil once they all have
}

func startClients(o options, b *board) {
	places := make(chan struct{}, o.parallel)
	var connection *grpc.ClientConn
	go func() {
		for number := range o.clients {
			places <- struct{}{}
			if o.mode != "rest" && number%o.streamsPerConnection == 0 {
				connection = dial(o.address, b)
			}
			c := &client{number: number, options: o, board: b, release: func() { <-places }}
			go c.run(connection)
		}
	}()
}

func dial(address string, b *board) *grpc.ClientConn {
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithStatsHandler(byteCounter{b}),
		grpc.WithReadBufferSize(4096), grpc.WithWriteBufferSize(4096), grpc.WithSharedWriteBuffer(true))
	if err != nil {
		panic(err) // only an option of ours can be wrong
	}
	return connection
}

func (c *client) run(connection *grpc.ClientConn) {
	c.opened = time.Now()
	var err error
	if c.options.mode == "rest" {
		err = c.pollForever()
	} else {
		err = c.streamForever(connection)
	}
	c.board.fail(c.number, err)
	if c.wanted != nil {
		c.release()
	}
}

func (c *client) names() []string {
	names := make([]string, 0, c.options.subscribe)
	c.wanted = make(map[string]bool, c.options.subscribe)
	for _, service := range c.options.subscribed(c.number) {
		name := fmt.Sprintf(c.options.nameFormat, service)
		names = append(names, name)
		c.wanted[name] = true
	}
	return names
}

func (c *client) node() *corev3.Node {
	id := fmt.Sprintf("sidecar~10.%d.%d.%d~mock-%d.bench~bench.svc.cluster.local", c.number>>16, c.number>>8&255, c.number&255, c.number)
	return &corev3.Node{Id: id, Cluster: "bench", UserAgentName: "envoy"}
}

func (c *client) streamForever(connection *grpc.ClientConn) error {
	s, err := open(context.Background(), c.options.mode, connection)
	if err != nil {
		return err
	}
	names, node := c.names(), c.node()
	if c.options.wildcard {
		err = s.subscribe(clusterType, nil, node)
	} else {
		err = s.subscribe(endpointType, names, node)
	}
	asked := !c.options.wildcard
	for err == nil {
		var typeURL string
		var resources []resource
		if typeURL, resources, err = s.receive(); err != nil {
			break
		}
		watched := c.board.touch(c.number)
		err = s.acknowledge()
		c.note(watched, typeURL, resources)
		if err == nil && !asked {
			asked = true // Envoy asks for the endpoints of the clusters that it got
			err = s.subscribe(endpointType, names, nil)
		}
	}
	return err
}

// note looks for what is waited for: the rest of the first configuration, then the change.
func (c *client) note(watched *change, typeURL string, resources []resource) {
	if typeURL != endpointType {
		return
	}
	for _, each := range resources {
		name := each.name
		if name == "" {
			name = assignmentName(each.body)
		}
		if watched != nil && watched.carriedBy(name, each.body) {
			watched.acknowledged(c.number)
		}
		if c.wanted != nil {
			delete(c.wanted, strings.Clone(name))
		}
	}
	if c.wanted != nil && len(c.wanted) == 0 {
		c.wanted = nil
		c.board.configured(c.number, c.opened)
		c.release()
	}
}

// assignmentName reads field 1 (cluster_name) of a serialised ClusterLoadAssignment, which every server writes first.
func assignmentName(body []byte) string {
	if len(body) < 2 || body[0] != 0x0a || body[1] > 127 || len(body) < 2+int(body[1]) {
		return ""
	}
	return string(body[2 : 2+body[1]])
}

func unpacked(name string, message *anypb.Any) resource {
	return resource{name: name, body: message.GetValue()}
}

// byteCounter counts what arrives, as it is on the wire (gRPC's frame header included).
type byteCounter struct{ board *board }

func (byteCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (byteCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (byteCounter) HandleConn(context.Context, stats.ConnStats)                       {}
func (h byteCounter) HandleRPC(_ context.Context, event stats.RPCStats) {
	if payload, ok := event.(*stats.InPayload); ok {
		h.board.bytes.Add(int64(payload.WireLength))
	}
}
