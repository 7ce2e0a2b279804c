// Command goxds serves endpoints from go-control-plane: the peer of the push suite.
//
// It uses that library as its documentation suggests for resources that are equal for all clients: a linear cache a type,
// joined by a mux cache. A change updates one resource, and only the watches of that name are answered.
//
//	POST /change?service=17&marker=10.99.0.1   gives the first endpoint of that service another address
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const port = 8080

type shape struct {
	nameFormat string
	services   int
	endpoints  int
}

func main() {
	var s shape
	listen := flag.String("listen", "127.0.0.1:0", "where xDS is served")
	admin := flag.String("admin", "127.0.0.1:0", "where changes are asked for")
	flag.StringVar(&s.nameFormat, "name", "outbound|8080||svc-%05d.bench.local", "cluster name by number")
	flag.IntVar(&s.services, "services", 1000, "services")
	flag.IntVar(&s.endpoints, "endpoints", 10, "endpoints of each service")
	flag.Parse()
	endpoints := cache.NewLinearCache(resourcev3.EndpointType, cache.WithInitialResources(s.assignments()))
	go serveChanges(*admin, s, endpoints)
	serve(*listen, s, endpoints)
}

func serve(address string, s shape, endpoints cache.Cache) {
	clusters := cache.NewLinearCache(resourcev3.ClusterType, cache.WithInitialResources(s.clusters()))
	mux := &cache.MuxCache{
		Classify:      func(r *cache.Request) string { return r.GetTypeUrl() },
		ClassifyDelta: func(r *cache.DeltaRequest) string { return r.GetTypeUrl() },
		Caches:        map[string]cache.Cache{resourcev3.ClusterType: clusters, resourcev3.EndpointType: endpoints},
	}
	server := grpc.NewServer(grpc.MaxConcurrentStreams(1 << 20))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, serverv3.NewServer(context.Background(), mux, nil))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}

func serveChanges(address string, s shape, endpoints *cache.LinearCache) {
	http.HandleFunc("POST /change", func(w http.ResponseWriter, r *http.Request) {
		service, err := strconv.Atoi(r.FormValue("service"))
		if err != nil || service < 0 || service >= s.services || net.ParseIP(r.FormValue("marker")) == nil {
			http.Error(w, "service needs a number below the number of services, marker an IP address", http.StatusBadRequest)
			return
		}
		if err := endpoints.UpdateResource(s.name(service), s.assignment(service, r.FormValue("marker"))); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	log.Fatal(http.ListenAndServe(address, nil))
}

func (s shape) name(service int) string { return fmt.Sprintf(s.nameFormat, service) }

func (s shape) clusters() map[string]types.Resource {
	made := map[string]types.Resource{}
	for service := range s.services {
		ads := &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
		}
		made[s.name(service)] = &clusterv3.Cluster{
			Name:                 s.name(service),
			ConnectTimeout:       durationpb.New(10e9),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
		}
	}
	return made
}

func (s shape) assignments() map[string]types.Resource {
	made := map[string]types.Resource{}
	for service := range s.services {
		made[s.name(service)] = s.assignment(service, address(service, 0))
	}
	return made
}

func address(service, endpoint int) string {
	return fmt.Sprintf("10.%d.%d.%d", 1+service>>8, service&255, 1+endpoint)
}

func (s shape) assignment(service int, first string) *endpointv3.ClusterLoadAssignment {
	locality := &endpointv3.LocalityLbEndpoints{LoadBalancingWeight: wrapperspb.UInt32(uint32(s.endpoints))}
	for number := range s.endpoints {
		host := address(service, number)
		if number == 0 {
			host = first
		}
		locality.LbEndpoints = append(locality.LbEndpoints, endpoint(host))
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: s.name(service), Endpoints: []*endpointv3.LocalityLbEndpoints{locality}}
}

func endpoint(host string) *endpointv3.LbEndpoint {
	socket := &corev3.SocketAddress{Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}},
		}},
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
}
