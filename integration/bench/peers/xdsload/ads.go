package main

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

func open(ctx context.Context, mode string, connection *grpc.ClientConn) (stream, error) {
	service := discoveryv3.NewAggregatedDiscoveryServiceClient(connection)
	if mode == "sotw" {
		s, err := service.StreamAggregatedResources(ctx, grpc.WaitForReady(true))
		return &sotwStream{stream: s, names: map[string][]string{}}, err
	}
	s, err := service.DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	return &deltaStream{stream: s}, err
}

type deltaStream struct {
	stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	latest *discoveryv3.DeltaDiscoveryResponse
}

func (s *deltaStream) subscribe(typeURL string, names []string, node *corev3.Node) error {
	return s.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (s *deltaStream) receive() (string, []resource, error) {
	response, err := s.stream.Recv()
	if err != nil {
		return "", nil, err
	}
	s.latest = response
	resources := make([]resource, 0, len(response.Resources))
	for _, each := range response.Resources {
		resources = append(resources, unpacked(each.Name, each.Resource))
	}
	return response.TypeUrl, resources, nil
}

func (s *deltaStream) acknowledge() error {
	request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: s.latest.TypeUrl, ResponseNonce: s.latest.Nonce}
	s.latest = nil
	return s.stream.Send(request)
}

type sotwStream struct {
	stream grpc.BidiStreamingClient[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	latest *discoveryv3.DiscoveryResponse
	names  map[string][]string
}

func (s *sotwStream) subscribe(typeURL string, names []string, node *corev3.Node) error {
	s.names[typeURL] = names
	return s.stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNames: names})
}

func (s *sotwStream) receive() (string, []resource, error) {
	response, err := s.stream.Recv()
	if err != nil {
		return "", nil, err
	}
	s.latest = response
	resources := make([]resource, 0, len(response.Resources))
	for _, each := range response.Resources {
		resources = append(resources, unpacked("", each))
	}
	return response.TypeUrl, resources, nil
}

func (s *sotwStream) acknowledge() error {
	request := &discoveryv3.DiscoveryRequest{
		TypeUrl: s.latest.TypeUrl, ResponseNonce: s.latest.Nonce, VersionInfo: s.latest.VersionInfo,
		ResourceNames: s.names[s.latest.TypeUrl],
	}
	s.latest = nil
	return s.stream.Send(request)
}
