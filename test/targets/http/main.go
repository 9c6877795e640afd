// Command http answers requests in every way in which a handler can, over HTTP/1.1 and over HTTP/2,
// and counts what it answered. It prints both addresses; /counters has the counts.
//
//	/ROUTE?how=WAY&status=N&wait=5ms
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

type answer struct {
	Route  string `json:"route"`
	Method string `json:"method"`
	Status int    `json:"status"`
}

var (
	mutex  sync.Mutex
	counts = map[answer]int{}
)

func count(route string, r *http.Request, status *int) {
	mutex.Lock()
	defer mutex.Unlock()
	counts[answer{route, r.Method, *status}]++
}

func serve(route string, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	status, err := strconv.Atoi(query.Get("status"))
	if err != nil {
		status = http.StatusOK
	}
	defer count(route, r, &status)
	wait, _ := time.ParseDuration(query.Get("wait"))
	time.Sleep(wait)
	switch query.Get("how") {
	case "status":
		w.WriteHeader(status)
	case "twice":
		w.WriteHeader(status)
		w.WriteHeader(http.StatusInternalServerError)
	case "early":
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(status)
	case "error":
		http.Error(w, "as asked", status)
	case "body":
		io.WriteString(w, "hello\n")
	case "panic":
		status = http.StatusInternalServerError
		panic("as asked")
	case "late":
		w.WriteHeader(http.StatusOK)
		status = http.StatusInternalServerError
		panic("as asked, with a status before")
	case "abort":
		status = http.StatusInternalServerError
		panic(http.ErrAbortHandler)
	}
}

// Plain is what most handlers are.
type Plain struct{}

func (h *Plain) ServeHTTP(w http.ResponseWriter, r *http.Request) { serve("/plain", w, r) }

// Wrapped is given a writer that is not net/http's own.
type Wrapped struct{}

func (h *Wrapped) ServeHTTP(w http.ResponseWriter, r *http.Request) { serve("/wrapped", w, r) }

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func recording(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&recorder{ResponseWriter: w}, r)
	})
}

// Outer and Inner are both handlers of the same request.
type Outer struct{ inner http.Handler }

func (h *Outer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, err := strconv.Atoi(r.URL.Query().Get("status"))
	if err != nil {
		status = http.StatusOK
	}
	answered := status
	status = http.StatusInternalServerError
	defer count("/outer", r, &status)
	h.inner.ServeHTTP(w, r)
	status = answered
}

type Inner struct{}

func (h *Inner) ServeHTTP(w http.ResponseWriter, r *http.Request) { serve("/inner", w, r) }

// Limited writes into a buffer, on a goroutine of its own.
type Limited struct{}

func (h *Limited) ServeHTTP(w http.ResponseWriter, r *http.Request) { serve("/limited", w, r) }

func function(w http.ResponseWriter, r *http.Request) { serve("/function", w, r) }

func counters(w http.ResponseWriter, r *http.Request) {
	type counted struct {
		answer
		Count int `json:"count"`
	}
	mutex.Lock()
	defer mutex.Unlock()
	all := []counted{}
	for each, n := range counts {
		all = append(all, counted{each, n})
	}
	json.NewEncoder(w).Encode(all)
}

func main() {
	// What net/http says of panics.
	log.SetOutput(io.Discard)
	mux := http.NewServeMux()
	mux.Handle("/plain", &Plain{})
	mux.Handle("/wrapped", recording(&Wrapped{}))
	mux.Handle("/outer", &Outer{&Inner{}})
	mux.Handle("/limited", http.TimeoutHandler(&Limited{}, time.Minute, ""))
	mux.HandleFunc("/function", function)
	mux.HandleFunc("/counters", counters)
	plain := httptest.NewServer(mux)
	secure := httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	fmt.Printf("listening on %s and %s\n", plain.URL, secure.URL)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	<-signals
}
