package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

// step is some microseconds of work.
//
//go:noinline
func step(n int) int {
	sum := n
	for i := range 4_000 {
		sum = sum*31 + i
	}
	count(sum)
	return sum
}

//go:noinline
func handle(w http.ResponseWriter, _ *http.Request) {
	sum := 0
	for i := range 10 {
		sum += step(i)
	}
	fmt.Fprintln(w, sum)
}

// usage answers with the CPU time of this process, in nanoseconds.
func usage(w http.ResponseWriter, _ *http.Request) {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	fmt.Fprintln(w, used.Utime.Nano()+used.Stime.Nano())
}

func serve(args []string) {
	if len(args) > 0 {
		procs, _ := strconv.Atoi(args[0])
		runtime.GOMAXPROCS(procs)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	http.HandleFunc("/", handle)
	http.HandleFunc("/usage", usage)
	fmt.Printf("listening on http://%s\n", listener.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	_ = http.Serve(listener, nil)
}
