package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// All clients poll over a pool of connections; a control plane that is polled sees requests, not clients.
var poller = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{MaxConnsPerHost: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
}

// pollForever is REST polling as Envoy does it: a DiscoveryRequest as JSON, 304 when nothing changed, an interval in between.
//
// The first wait is a share of the interval that differs between clients. Otherwise they would go on polling in the order in
// which they started, and a change right after that would always meet the longest wait.
func (c *client) pollForever() error {
	names, version := c.names(), ""
	wait := time.Duration(rand.Float64() * float64(c.options.poll))
	for {
		body, err := c.poll(names, version)
		if err != nil {
			return err
		}
		if body != nil {
			if version, err = c.take(names, body); err != nil {
				return err
			}
		}
		time.Sleep(wait)
		wait = c.options.poll
	}
}

func (c *client) poll(names []string, version string) ([]byte, error) {
	node := map[string]any{
		"id": c.node().Id, "cluster": "bench", "metadata": map[string]any{}, "user_agent_name": "envoy",
		"user_agent_build_version": map[string]any{"version": map[string]int{"major_number": 1, "minor_number": 40, "patch": 0}},
	}
	request, err := json.Marshal(map[string]any{
		"version_info": version, "node": node, "resource_names": names, "type_url": endpointType,
	})
	if err != nil {
		return nil, err
	}
	response, err := poller.Post("http://"+c.options.address+"/v3/discovery:endpoints", "application/json", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotModified:
		return nil, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d: %.200s", response.StatusCode, body)
	}
	c.board.bytes.Add(int64(len(body)))
	return body, nil
}

func (c *client) take(names []string, body []byte) (string, error) {
	watched := c.board.touch(c.number)
	var head struct {
		VersionInfo string            `json:"version_info"`
		Resources   []json.RawMessage `json:"resources"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return "", err
	}
	if len(head.Resources) != len(names) {
		return "", fmt.Errorf("%d resources instead of %d", len(head.Resources), len(names))
	}
	resources := make([]resource, 0, len(names))
	for _, raw := range head.Resources {
		var named struct {
			Name string `json:"cluster_name"`
		}
		if err := json.Unmarshal(raw, &named); err != nil {
			return "", err
		}
		resources = append(resources, resource{name: named.Name, body: raw})
	}
	c.note(watched, endpointType, resources)
	return head.VersionInfo, nil
}
