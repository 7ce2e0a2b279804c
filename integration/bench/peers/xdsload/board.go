package main

import (
	"bytes"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const settle = 100 * time.Millisecond // after the last subscriber has a change, for responses that follow it

// change is one update that is waited for.
type change struct {
	name     string
	marker   []byte
	expected int
	armed    time.Time
	usage    float64
	seen     []atomic.Int64 // by client: when it had acknowledged the change, ns since the epoch; 0 before
	touched  []atomic.Bool  // by client: whether it was sent anything
	count    atomic.Int64
	done     chan struct{}

	bytesBefore, responsesBefore int64
}

// board is where all clients write down what happened to them.
type board struct {
	current   atomic.Pointer[change]
	bytes     atomic.Int64
	responses atomic.Int64
	ready     chan int

	mu     sync.Mutex
	first  []float64 // ms from opening to the whole first configuration, by arrival
	failed int
	error  string
	lags   []float64 // ms
}

func newBoard(clients int) *board {
	return &board{ready: make(chan int, clients)}
}

func (b *board) fail(client int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed++
	if b.error == "" {
		b.error = fmt.Sprintf("client %d: %v", client, err)
	}
}

func (b *board) failures() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

func (b *board) firstError() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.error
}

func (b *board) configured(client int, since time.Time) {
	b.mu.Lock()
	b.first = append(b.first, milliseconds(time.Since(since)))
	b.mu.Unlock()
	b.ready <- client
}

func (b *board) waitReady(deadline time.Duration) (ready int) {
	timer := time.After(deadline)
	for ready < cap(b.ready) {
		select {
		case <-b.ready:
			ready++
		case <-timer:
			return ready
		}
	}
	return ready
}

func (b *board) firstPercentile(p float64) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return percentile(b.first, p)
}

func (b *board) arm(name, marker string, expected int) *change {
	clients := cap(b.ready)
	c := &change{
		name: name, marker: []byte(marker), expected: expected, armed: time.Now(), usage: processorTime(),
		seen: make([]atomic.Int64, clients), touched: make([]atomic.Bool, clients), done: make(chan struct{}),
		bytesBefore: b.bytes.Load(), responsesBefore: b.responses.Load(),
	}
	b.mu.Lock()
	b.lags = b.lags[:0]
	b.mu.Unlock()
	b.current.Store(c)
	return c
}

// touch notes a response to a client; the change that it may belong to, or nil.
func (b *board) touch(client int) *change {
	b.responses.Add(1)
	c := b.current.Load()
	if c != nil {
		c.touched[client].Store(true)
	}
	return c
}

func (c *change) carriedBy(name string, body []byte) bool {
	return name == c.name && bytes.Contains(body, c.marker)
}

func (c *change) acknowledged(client int) {
	if c.seen[client].CompareAndSwap(0, time.Now().UnixNano()) && int(c.count.Add(1)) == c.expected {
		close(c.done)
	}
}

func (b *board) await(c *change, sinceNS int64, timeout time.Duration) map[string]any {
	missed := false
	select {
	case <-c.done:
	case <-time.After(timeout):
		missed = true
	}
	elapsed, used := time.Since(c.armed).Seconds(), processorTime()-c.usage
	if !missed {
		time.Sleep(settle)
	}
	var delays []float64
	touched := 0
	for client := range c.seen {
		if at := c.seen[client].Load(); at != 0 {
			delays = append(delays, float64(at-sinceNS)/1e6)
		}
		if c.touched[client].Load() {
			touched++
		}
	}
	return map[string]any{
		"expected": c.expected, "seen": len(delays), "touched": touched, "delays_ms": rounded(delays),
		"bytes": b.bytes.Load() - c.bytesBefore, "responses": b.responses.Load() - c.responsesBefore,
		"failed": b.failures(), "first_error": b.firstError(),
		"load_cpu_share": used / elapsed, "load_lag_p99_ms": b.lagPercentile(0.99),
	}
}

func (b *board) lagPercentile(p float64) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return percentile(b.lags, p)
}

// watchLag measures how late this process wakes up: a load generator that is the bottleneck shows here.
func watchLag(b *board) {
	const interval = 5 * time.Millisecond
	for {
		start := time.Now()
		time.Sleep(interval)
		b.mu.Lock()
		b.lags = append(b.lags, milliseconds(time.Since(start)-interval))
		b.mu.Unlock()
	}
}

func processorTime() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func rounded(values []float64) []float64 {
	for i, v := range values {
		values[i] = float64(int64(v*1000)) / 1000
	}
	return values
}
