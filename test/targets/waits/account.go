package main

import (
	"encoding/json"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Account is what the program, its runtime and the kernel say of its time while calls of task,
// pinned, relay and serve ran; nanoseconds, where nothing else is said.
type Account struct {
	Calls  int `json:"calls"`
	Pinned int `json:"pinned"`
	// The goroutines' own clock around their calls.
	Wall       int64 `json:"wall"`
	PinnedWall int64 `json:"pinnedWall"`
	// getrusage, user and system: of the process, and of the thread that the pinned calls ran on.
	CPU       int64 `json:"cpu"`
	PinnedCPU int64 `json:"pinnedCpu"`
	// How long threads of the process were on a run queue of the kernel's.
	Delayed int64 `json:"delayed"`
	// Seconds for which the runtime's processors had goroutines, by runtime/metrics, which has them
	// from Go 1.20 on; else 0.
	User float64 `json:"user"`
	// What is in /sched/latencies:seconds: from, to, and how many.
	Latencies [][3]float64 `json:"latencies"`
}

const (
	workers   = 8
	threadCPU = 1 // RUSAGE_THREAD
)

func used(who int) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// By the kernel's account of each thread.
func delayed() (sum int64) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			ns, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += ns
		}
	}
	return
}

func seconds(name string) float64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	if samples[0].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return samples[0].Value.Float64()
}

func latencies() *metrics.Float64Histogram {
	samples := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(samples)
	return samples[0].Value.Float64Histogram()
}

// What has been counted since, without the buckets in which nothing was.
func since(before, after *metrics.Float64Histogram) (counted [][3]float64) {
	for i, count := range after.Counts {
		if count > before.Counts[i] {
			low := math.Max(0, after.Buckets[i])
			high := math.Min(math.MaxFloat64, after.Buckets[i+1])
			counted = append(counted, [3]float64{low, high, float64(count - before.Counts[i])})
		}
	}
	return
}

type worker struct {
	random     uint32
	ask, reply chan int
	connection net.Conn
	buffer     [1]byte
	kept       [512]*[512]byte
}

var shared sync.Mutex

// In no fixed order: the runtime's histogram has each eighth of a goroutine's turns.
func (w *worker) mix() {
	w.random = w.random*1664525 + 1013904223
	switch w.random >> 24 % 8 {
	case 0:
		time.Sleep(50 * time.Microsecond)
	case 1, 2:
		shared.Lock()
		spin(200 * time.Microsecond)
		shared.Unlock()
	case 3:
		w.ask <- 1
		<-w.reply
	case 4:
		w.connection.Write(w.buffer[:])
		w.connection.Read(w.buffer[:])
	case 5:
		for i := range w.kept {
			w.kept[i] = new([512]byte)
		}
	default:
		spin(time.Millisecond)
	}
}

//go:noinline
func task(w *worker) { w.mix() }

// On a goroutine that has its thread for itself.
//
//go:noinline
func pinned(w *worker) { w.mix() }

//go:noinline
func relay(from, to chan int) {
	for value := range from {
		to <- value
	}
}

//go:noinline
func serve(connection net.Conn) {
	io.Copy(connection, onlyReader{connection})
}

// So that the runtime's poller waits for it, and no splice.
type onlyReader struct{ io.Reader }

// Returns what ends what it has started.
func newWorker(seed int, listener net.Listener, helpers *sync.WaitGroup) (*worker, func()) {
	w := &worker{random: uint32(seed), ask: make(chan int), reply: make(chan int)}
	accepted := make(chan net.Conn)
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		accepted <- connection
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	w.connection = connection
	server := <-accepted
	helpers.Add(2)
	go func() {
		defer helpers.Done()
		relay(w.ask, w.reply)
	}()
	go func() {
		defer helpers.Done()
		serve(server)
	}()
	return w, func() {
		close(w.ask)
		connection.Close()
	}
}

func account(calls int, path string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	// So that there are more goroutines than processors wherever it runs.
	runtime.GOMAXPROCS(2)
	a := &Account{}
	var group, helpers sync.WaitGroup
	var lock sync.Mutex
	start := make(chan struct{})
	for i := 0; i <= workers; i++ {
		w, stop := newWorker(i, listener, &helpers)
		own := i == workers
		group.Add(1)
		go func() {
			defer group.Done()
			defer stop()
			if own {
				runtime.LockOSThread()
			}
			<-start
			times, cpu, wall := calls/workers, used(threadCPU), int64(0)
			for round := 0; round < times; round++ {
				begin := time.Now()
				if own {
					pinned(w)
				} else {
					task(w)
				}
				wall += int64(time.Since(begin))
			}
			lock.Lock()
			defer lock.Unlock()
			if own {
				a.Pinned, a.PinnedWall, a.PinnedCPU = times, wall, used(threadCPU)-cpu
			} else {
				a.Calls += times
				a.Wall += wall
			}
		}()
	}
	// The runtime sums up at the end of a cycle only.
	runtime.GC()
	before := latencies()
	user := seconds("/cpu/classes/user:cpu-seconds")
	cpu, delay := used(syscall.RUSAGE_SELF), delayed()
	close(start)
	group.Wait()
	helpers.Wait()
	a.CPU, a.Delayed = used(syscall.RUSAGE_SELF)-cpu, delayed()-delay
	a.Latencies = since(before, latencies())
	runtime.GC()
	a.User = seconds("/cpu/classes/user:cpu-seconds") - user
	write(path, a)
}

func write(path string, value interface{}) {
	file, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(file).Encode(value); err != nil {
		panic(err)
	}
	file.Close()
}
