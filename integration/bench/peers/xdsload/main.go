// Command xdsload is many mock xDS clients in one process: it subscribes as Envoy does, acknowledges everything, keeps nothing.
//
// It prints one JSON object when every client has its first configuration, and one for each command on standard input:
//
//	{"op":"arm","service":17,"marker":"10.99.0.1"}        watch for that text in the endpoints of that service
//	{"op":"wait","since_ns":1700000000000000000,"timeout_s":10}   until every subscriber has it
//
// It ends when standard input does.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	address              string
	mode                 string
	nameFormat           string
	clients              int
	services             int
	subscribe            int
	streamsPerConnection int
	parallel             int
	wildcard             bool
	poll                 time.Duration
	deadline             time.Duration
}

func readOptions() options {
	var o options
	flag.StringVar(&o.address, "address", "", "host:port of the control plane")
	flag.StringVar(&o.mode, "mode", "delta", "delta, sotw or rest")
	flag.StringVar(&o.nameFormat, "name", "outbound|8080||svc-%05d.bench.local", "cluster name by number")
	flag.IntVar(&o.clients, "clients", 1000, "mock clients")
	flag.IntVar(&o.services, "services", 1000, "services that the control plane has")
	flag.IntVar(&o.subscribe, "subscribe", 20, "services each client subscribes to")
	flag.IntVar(&o.streamsPerConnection, "streams-per-connection", 1, "ADS streams that share an HTTP/2 connection")
	flag.IntVar(&o.parallel, "parallel", 64, "clients that may wait for their first configuration at once")
	flag.BoolVar(&o.wildcard, "wildcard", false, "take all clusters (CDS wildcard) and all their endpoints instead")
	flag.DurationVar(&o.poll, "poll", 5*time.Second, "interval between two requests of a client (rest)")
	flag.DurationVar(&o.deadline, "deadline", 2*time.Minute, "time for all first configurations")
	flag.Parse()
	if o.address == "" || o.clients < 1 || o.services < o.subscribe || o.streamsPerConnection < 1 || o.parallel < 1 {
		fmt.Fprintln(os.Stderr, "xdsload: -address is needed, counts are at least 1, -subscribe at most -services")
		os.Exit(2)
	}
	if o.wildcard {
		o.subscribe = o.services
	}
	return o
}

// subscribed are the service numbers of a client: a window that moves along with the client's number.
func (o options) subscribed(client int) []int {
	numbers := make([]int, o.subscribe)
	for i := range numbers {
		numbers[i] = (client*o.subscribe + i) % o.services
	}
	return numbers
}

func (o options) subscribers(service int) (count int) {
	for client := range o.clients {
		offset := (service - client*o.subscribe%o.services + o.services) % o.services
		if offset < o.subscribe {
			count++
		}
	}
	return count
}

type command struct {
	Op       string  `json:"op"`
	Service  int     `json:"service"`
	Marker   string  `json:"marker"`
	SinceNS  int64   `json:"since_ns"`
	TimeoutS float64 `json:"timeout_s"`
}

func main() {
	o := readOptions()
	board := newBoard(o.clients)
	go watchLag(board)
	start, usage := time.Now(), processorTime()
	startClients(o, board)
	ready := board.waitReady(o.deadline)
	print(map[string]any{
		"clients": o.clients, "ready": ready, "failed": board.failures(), "first_error": board.firstError(),
		"first_config_s": time.Since(start).Seconds(), "first_p50_ms": board.firstPercentile(0.50),
		"first_p99_ms": board.firstPercentile(0.99), "bytes": board.bytes.Load(), "responses": board.responses.Load(),
		"load_cpu_share": (processorTime() - usage) / time.Since(start).Seconds(), "load_lag_p99_ms": board.lagPercentile(0.99),
	})
	obey(o, board)
}

func obey(o options, board *board) {
	var watched *change
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, "xdsload: bad command:", err)
			os.Exit(2)
		}
		switch c.Op {
		case "arm":
			name := fmt.Sprintf(o.nameFormat, c.Service)
			watched = board.arm(name, c.Marker, o.subscribers(c.Service))
			print(map[string]any{"expected": watched.expected})
		case "wait":
			print(board.await(watched, c.SinceNS, time.Duration(c.TimeoutS*float64(time.Second))))
		default:
			fmt.Fprintf(os.Stderr, "xdsload: unknown op %q\n", c.Op)
			os.Exit(2)
		}
	}
}

func print(object any) {
	_ = json.NewEncoder(os.Stdout).Encode(object)
}
