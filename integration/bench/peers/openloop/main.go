// Command openloop sends HTTP/1.1 requests at a fixed rate over N keep-alive connections and prints latencies as JSON.
//
// A request has a due time. When its connection is still busy at that time, latency counts from the due time, so a slow
// answer delays, and is charged with, what queues behind it (no coordinated omission). When the connection was idle,
// latency counts from the moment of sending, so that the sleep granularity of this program is not charged to the server.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"sync"
	"time"
)

type outcome struct {
	latencies []float64 // microseconds
	errors    int
	first     string
}

func (o *outcome) fail(err error) {
	o.errors++
	if o.first == "" {
		o.first = err.Error()
	}
}

type connection struct {
	address string
	request []byte
	unique  string // name of a header whose value differs in every request; empty for none
	number  int
	socket  net.Conn
	reader  *bufio.Reader
}

func (c *connection) exchange() error {
	if c.socket == nil {
		socket, err := net.DialTimeout("tcp", c.address, 5*time.Second)
		if err != nil {
			return err
		}
		c.socket, c.reader = socket, bufio.NewReaderSize(socket, 65536)
	}
	_ = c.socket.SetDeadline(time.Now().Add(10 * time.Second))
	request := c.request
	if c.unique != "" {
		c.number++
		request = fmt.Appendf(nil, "%s%s: %p-%d\r\n\r\n", c.request[:len(c.request)-2], c.unique, c, c.number)
	}
	if _, err := c.socket.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func (c *connection) reset() {
	if c.socket != nil {
		_ = c.socket.Close()
		c.socket = nil
	}
}

// run sends one request every interval until the end; the first warm-up part is not recorded.
func (c *connection) run(start time.Time, interval, warmup, duration time.Duration, result *outcome) {
	for due := start; due.Before(start.Add(warmup + duration)); due = due.Add(interval) {
		from := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			from = time.Now()
		}
		err := c.exchange()
		if err != nil {
			c.reset()
		}
		if due.Before(start.Add(warmup)) {
			continue
		}
		if err != nil {
			result.fail(err)
			continue
		}
		result.latencies = append(result.latencies, float64(time.Since(from).Nanoseconds())/1000)
	}
}

func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func main() {
	target := flag.String("url", "", "URL to request")
	connections := flag.Int("connections", 1, "keep-alive connections")
	rate := flag.Float64("rate", 200, "requests per second, over all connections")
	duration := flag.Duration("duration", 5*time.Second, "time that is recorded")
	warmup := flag.Duration("warmup", time.Second, "time before it that is not")
	header := flag.String("header", "", "one more request header, as \"Name: value\"")
	unique := flag.String("unique-header", "", "name of a header that gets another value in every request")
	flag.Parse()
	parsed, err := url.Parse(*target)
	if err != nil || parsed.Host == "" {
		fmt.Fprintln(os.Stderr, "openloop: -url needs http://host:port/path")
		os.Exit(2)
	}
	more := ""
	if *header != "" {
		more = *header + "\r\n"
	}
	request := []byte(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: openloop\r\nAccept: */*\r\n%s\r\n", parsed.RequestURI(), parsed.Host, more))
	interval := time.Duration(float64(time.Second) * float64(*connections) / *rate)
	results := make([]outcome, *connections)
	start := time.Now().Add(50 * time.Millisecond)
	var group sync.WaitGroup
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			c := &connection{address: parsed.Host, request: request, unique: *unique}
			defer c.reset()
			offset := interval * time.Duration(i) / time.Duration(*connections)
			c.run(start.Add(offset), interval, *warmup, *duration, &results[i])
		}(i)
	}
	group.Wait()
	report(results, *duration)
}

func report(results []outcome, duration time.Duration) {
	var all []float64
	errors, first := 0, ""
	for _, r := range results {
		all = append(all, r.latencies...)
		errors += r.errors
		if first == "" {
			first = r.first
		}
	}
	sort.Float64s(all)
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": len(all), "seconds": duration.Seconds(), "mean_us": sum / float64(max(1, len(all))),
		"p50_us": percentile(all, 0.50), "p90_us": percentile(all, 0.90), "p99_us": percentile(all, 0.99),
		"p999_us": percentile(all, 0.999), "errors": errors, "first_error": first,
	})
}
