// Command boltload sends Bolt v1 requests over N connections and prints what came back as JSON.
//
// Closed loop (-outstanding): every connection keeps that many requests in flight; answers that come together are read together
// and as many new requests are written at once. Open loop (-rate): a request has a due time, and latency counts from it when its
// connection was still busy with an earlier one (no coordinated omission), else from the moment of sending, so that the sleep
// granularity of this program is not charged to the server.
//
// Every answer is matched to its request by identifier; one that fits none is an error. Requests carry the header of SOFARPC,
// with a trace identifier that differs in each.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"sync"
	"time"
)

const traceDigits = 12

type options struct {
	address     string
	connections int
	outstanding int
	body        int
	rate        float64
	warmup      time.Duration
	duration    time.Duration
}

type outcome struct {
	latencies []float32 // microseconds
	requests  int
	errors    int
	first     string
}

func (o *outcome) fail(format string, arguments ...any) {
	o.errors++
	if o.first == "" {
		o.first = fmt.Sprintf(format, arguments...)
	}
}

// template is a request whose identifier is at 5 and whose trace digits are at trace.
type template struct {
	frame []byte
	trace int
}

func request(body int) template {
	class := []byte("com.alipay.sofa.rpc.core.request.SofaRequest")
	var header []byte
	trace := 0
	add := func(name, value string) {
		header = binary.BigEndian.AppendUint32(header, uint32(len(name)))
		header = append(header, name...)
		header = binary.BigEndian.AppendUint32(header, uint32(len(value)))
		if name == "rpc_trace_context.sofaTraceId" {
			trace = len(header) + len(value) - traceDigits
		}
		header = append(header, value...)
	}
	add("sofa_head_target_service", "com.alipay.test.TestService:1.0")
	add("service", "com.alipay.test.TestService:1.0")
	add("sofa_head_method_name", "echoStr")
	add("sofa_head_target_app", "bench-server")
	add("rpc_trace_context.sofaRpcId", "0")
	add("rpc_trace_context.sofaTraceId", "7f0000011610000000000000000000")
	add("rpc_trace_context.sofaPenAttrs", "")
	add("rpc_trace_context.sofaCallerApp", "bench-client")
	frame := []byte{1, 1, 0, 1, 1, 0, 0, 0, 0, 1}
	frame = binary.BigEndian.AppendUint32(frame, 10000)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(class)))
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(body))
	frame = append(frame, class...)
	trace += len(frame)
	frame = append(frame, header...)
	return template{append(frame, make([]byte, body)...), trace}
}

// fill writes one request with this identifier.
func (t template) fill(out []byte, identifier uint32) []byte {
	start := len(out)
	out = append(out, t.frame...)
	binary.BigEndian.PutUint32(out[start+5:], identifier)
	for i, n := traceDigits-1, identifier; i >= 0; i-- {
		out[start+t.trace+i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
	return out
}

type responses struct {
	buffer []byte
	held   int
}

// next reads once and calls each for every whole response.
func (r *responses) next(socket net.Conn, each func(identifier uint32, status uint16)) error {
	n, err := socket.Read(r.buffer[r.held:])
	if err != nil {
		return err
	}
	r.held += n
	done := 0
	for r.held-done >= 20 {
		frame := r.buffer[done:r.held]
		if frame[0] != 1 || frame[1] != 0 {
			return fmt.Errorf("answer begins with % x", frame[:4])
		}
		total := 20 + int(binary.BigEndian.Uint16(frame[12:])) + int(binary.BigEndian.Uint16(frame[14:])) + int(binary.BigEndian.Uint32(frame[16:]))
		if len(frame) < total {
			break
		}
		each(binary.BigEndian.Uint32(frame[5:]), binary.BigEndian.Uint16(frame[10:]))
		done += total
	}
	r.held = copy(r.buffer, r.buffer[done:r.held])
	return nil
}

func closed(o options, t template, start time.Time, result *outcome) {
	socket, err := net.DialTimeout("tcp", o.address, 5*time.Second)
	if err != nil {
		result.fail("%v", err)
		return
	}
	defer socket.Close()
	sent := make(map[uint32]time.Time, o.outstanding)
	reader := &responses{buffer: make([]byte, 1<<18)}
	recordFrom, end := start.Add(o.warmup), start.Add(o.warmup+o.duration)
	var identifier uint32
	var out []byte
	missing := o.outstanding
	for {
		now := time.Now()
		if now.After(end) && len(sent) == 0 {
			return
		}
		out = out[:0]
		if now.Before(end) {
			for ; missing > 0; missing-- {
				identifier++
				sent[identifier] = now
				out = t.fill(out, identifier)
			}
		}
		_ = socket.SetDeadline(now.Add(10 * time.Second))
		if len(out) > 0 {
			if _, err := socket.Write(out); err != nil {
				result.fail("%v", err)
				return
			}
		}
		err := reader.next(socket, func(identifier uint32, status uint16) {
			from, known := sent[identifier]
			if !known {
				result.fail("answer to %d, which is not waited for", identifier)
				return
			}
			delete(sent, identifier)
			missing++
			if status != 0 {
				result.fail("status %d", status)
			}
			if at := time.Now(); at.After(recordFrom) && at.Before(end) {
				result.requests++
				result.latencies = append(result.latencies, float32(at.Sub(from).Nanoseconds())/1000)
			}
		})
		if err != nil {
			result.fail("%v with %d requests waiting", err, len(sent))
			return
		}
	}
}

func open(o options, t template, start time.Time, interval time.Duration, result *outcome) {
	socket, err := net.DialTimeout("tcp", o.address, 5*time.Second)
	if err != nil {
		result.fail("%v", err)
		return
	}
	defer socket.Close()
	reader := &responses{buffer: make([]byte, 1<<16)}
	var identifier uint32
	var out []byte
	first, recordFrom, end := time.Now(), start.Add(o.warmup), start.Add(o.warmup+o.duration)
	_ = first
	for due := start; due.Before(end); due = due.Add(interval) {
		from := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			from = time.Now()
		}
		identifier++
		out = t.fill(out[:0], identifier)
		_ = socket.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := socket.Write(out); err != nil {
			result.fail("%v", err)
			return
		}
		for answered := false; !answered; {
			err := reader.next(socket, func(got uint32, status uint16) {
				if got != identifier || status != 0 {
					result.fail("answer to %d with status %d, waited for %d", got, status, identifier)
				}
				answered = true
			})
			if err != nil {
				result.fail("%v", err)
				return
			}
		}
		if due.After(recordFrom) {
			result.requests++
			result.latencies = append(result.latencies, float32(time.Since(from).Nanoseconds())/1000)
		}
	}
}

func percentile(sorted []float32, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(p*float64(len(sorted))))])
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "", "host:port")
	flag.IntVar(&o.connections, "connections", 1, "connections")
	flag.IntVar(&o.outstanding, "outstanding", 1, "requests in flight on each connection (closed loop)")
	flag.IntVar(&o.body, "body", 100, "bytes of content of a request")
	flag.Float64Var(&o.rate, "rate", 0, "requests per second over all connections (open loop); 0: closed loop")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "time that is recorded")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "time before it that is not")
	flag.Parse()
	if o.address == "" {
		fmt.Fprintln(os.Stderr, "boltload: -address is required")
		os.Exit(2)
	}
	t := request(o.body)
	results := make([]outcome, o.connections)
	start := time.Now().Add(50 * time.Millisecond)
	var group sync.WaitGroup
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			if o.rate > 0 {
				interval := time.Duration(float64(time.Second) * float64(o.connections) / o.rate)
				offset := interval * time.Duration(i) / time.Duration(o.connections)
				open(o, t, start.Add(offset), interval, &results[i])
				return
			}
			closed(o, t, start, &results[i])
		}(i)
	}
	group.Wait()
	report(results, o.duration)
}

func report(results []outcome, duration time.Duration) {
	var all []float32
	requests, errors, first := 0, 0, ""
	for _, r := range results {
		all = append(all, r.latencies...)
		requests += r.requests
		errors += r.errors
		if first == "" {
			first = r.first
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	sum := 0.0
	for _, v := range all {
		sum += float64(v)
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests, "seconds": duration.Seconds(), "mean_us": sum / float64(max(1, len(all))),
		"p50_us": percentile(all, 0.50), "p90_us": percentile(all, 0.90), "p95_us": percentile(all, 0.95),
		"p99_us": percentile(all, 0.99), "errors": errors, "first_error": first,
	})
}
