// Command abapp is a service with a business-cost knob: it burns processor time for each request, then calls the next service.
//
//	abapp -listen 127.0.0.1:8080 -business 1ms -sdk 100us -next http://127.0.0.1:8081/
//
// -business is what the application itself does, -sdk what a service-discovery SDK in it does to route a call. Both are
// processor time of the thread, not time on the clock, so that the same work is done however busy the machine is.
package main

import (
	"crypto/sha256"
	"flag"
	"io"
	"log"
	"net/http"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// forwarded are the headers by which the next hop is routed; a caller passes them on.
var forwarded = []string{"X-Zone", "X-Request-Key"}

type service struct {
	business time.Duration
	sdk      time.Duration
	next     string
	client   *http.Client
}

func main() {
	var s service
	listen := flag.String("listen", "", "host:port to serve")
	flag.DurationVar(&s.business, "business", 0, "processor time of the application for each request")
	flag.DurationVar(&s.sdk, "sdk", 0, "processor time of its SDK for each call")
	flag.StringVar(&s.next, "next", "", "URL to call for each request; empty: answer at once")
	flag.Parse()
	s.client = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
	}
	server := &http.Server{Addr: *listen, Handler: &s, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	burn(s.business)
	if s.next == "" {
		_, _ = io.WriteString(w, "hello\n")
		return
	}
	burn(s.sdk)
	response, err := s.call(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

func (s *service) call(r *http.Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.next, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range forwarded {
		if value := r.Header.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	return s.client.Do(request)
}

// burn uses that much processor time of this thread.
func burn(cost time.Duration) {
	if cost <= 0 {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block [64]byte
	for end := threadTime() + cost; threadTime() < end; {
		for range 8 {
			sum := sha256.Sum256(block[:])
			copy(block[:], sum[:])
		}
	}
}

func threadTime() time.Duration {
	const clockThreadCPU = 3 // CLOCK_THREAD_CPUTIME_ID of Linux
	var now syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&now)), 0)
	return time.Duration(now.Nano())
}
