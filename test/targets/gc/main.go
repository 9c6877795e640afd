// Command gc allocates in functions that it knows by name, and says what each of them has allocated,
// and what the garbage collector did meanwhile, so that a tracer's account can be compared.
//
//	gc allocate ROUNDS FILE [RATE]
//	gc beneath ROUNDS FILE [RATE]
//	gc apart 1 FILE
//	gc collect ROUNDS FILE
//	gc assist SECONDS FILE
package main

import (
	"encoding/json"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"time"
)

// Report is what the program has measured itself.
type Report struct {
	// Bytes that calls of a function have allocated, with what ran beneath.
	Allocated map[string]uint64 `json:"allocated"`
	Cycles    uint32            `json:"cycles"`
	Forced    uint32            `json:"forced"`
	// Of stop-the-world pauses, by the runtime's own count and clock: of each cycle, and in all.
	PauseNs      []uint64 `json:"pauseNs"`
	PauseTotalNs uint64   `json:"pauseTotalNs"`
	// How many single pauses there were, and the histogram of them: from and to, in ns, and how many.
	Pauses  uint64      `json:"pauses"`
	Buckets [][3]uint64 `json:"buckets"`
	// What the heap may grow to, and what was found alive.
	NextGC uint64 `json:"nextGC"`
	// Zero where the runtime does not say.
	Live          uint64  `json:"live"`
	AssistSeconds float64 `json:"assistSeconds"`
	MemProfile    int     `json:"memProfile"`
	// Bytes by function that was on the stack, as pprof has them of the heap profile; empty where the
	// program has none.
	Profile map[string]float64 `json:"profile"`
}

// If the program has a heap profile.
var heapProfile func() map[string]float64

var report = Report{Allocated: map[string]uint64{}}

var small [1024]*[64]byte
var large [16][]byte
var pointers [1024]*node

type node struct {
	next *node
	rest [48]byte
}

//go:noinline
func allocateSmall(n int) {
	for i := 0; i < n; i++ {
		small[i%len(small)] = new([64]byte)
	}
}

//go:noinline
func allocatePointers(n int) {
	for i := 0; i < n; i++ {
		pointers[i%len(pointers)] = &node{next: pointers[(i+1)%len(pointers)]}
	}
}

//go:noinline
func allocateLarge(n int) {
	for i := 0; i < n; i++ {
		large[i%len(large)] = make([]byte, 100_000)
	}
}

//go:noinline
func allocateAll(n int) {
	allocateSmall(n)
	allocateLarge(n / 100)
}

//go:noinline
func allocateNothing() {
	spin(10 * time.Microsecond)
}

func spin(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func measure(name string, call func()) {
	before := allocated()
	call()
	report.Allocated[name] += allocated() - before
}

func allocate(rounds int) {
	for i := 0; i < rounds; i++ {
		measure("allocateSmall", func() { allocateSmall(20_000) })
		measure("allocatePointers", func() { allocatePointers(10_000) })
		measure("allocateLarge", func() { allocateLarge(5) })
		measure("allocateAll", func() { allocateAll(5_000) })
		measure("allocateNothing", func() { allocateNothing() })
	}
}

//go:noinline
func request(d time.Duration) {
	spin(d)
}

//go:noinline
func collect(rounds int) {
	var group sync.WaitGroup
	done := make(chan struct{})
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				select {
				case <-done:
					return
				default:
					request(300 * time.Microsecond)
				}
			}
		}()
	}
	for i := 0; i < rounds; i++ {
		if i%2 == 0 {
			runtime.GC()
		} else {
			allocateSmall(100_000)
		}
		// The world stops for this, too, and it is no pause of the collector.
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
	}
	close(done)
	group.Wait()
}

//go:noinline
func churn(until time.Time) {
	var keep [512]*node
	for i := 0; time.Now().Before(until); i++ {
		for j := 0; j < 2000; j++ {
			keep[(i+j)%len(keep)] = &node{next: keep[j%len(keep)]}
		}
		for j := range keep {
			if j%3 == 0 {
				keep[j] = nil
			}
		}
	}
}

// A heap of many pointers, and those who allocate must help to mark it.
func assist(d time.Duration) {
	debug.SetGCPercent(10)
	var list *node
	for i := 0; i < 500_000; i++ {
		list = &node{next: list}
	}
	var group sync.WaitGroup
	until := time.Now().Add(d)
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			churn(until)
		}()
	}
	group.Wait()
	runtime.KeepAlive(list)
}

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 4 {
		rate, err := strconv.Atoi(os.Args[4])
		if err != nil {
			panic(err)
		}
		runtime.MemProfileRate = rate
	}
	switch os.Args[1] {
	case "allocate":
		allocate(n)
	case "beneath":
		allocateByPath(n)
	case "apart":
		measure("apart", allocateApart)
	case "collect":
		collect(n)
	case "assist":
		assist(time.Duration(n) * time.Second)
	}
	// No cycle may be under way: it would be counted here, or be there, in half.
	runtime.GC()
	tell()
}

// The outermost buckets have no end.
func nano(seconds float64) uint64 {
	return uint64(math.Round(math.Min(math.Max(seconds, 0), 1e6) * 1e9))
}

func tell() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	report.Cycles = stats.NumGC
	report.Forced = stats.NumForcedGC
	report.PauseTotalNs = stats.PauseTotalNs
	report.NextGC = stats.NextGC
	for i := uint32(0); i < stats.NumGC && i < 256; i++ {
		report.PauseNs = append(report.PauseNs, stats.PauseNs[(stats.NumGC-1-i)%256])
	}
	samples := []metrics.Sample{
		{Name: "/gc/pauses:seconds"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"},
	}
	metrics.Read(samples)
	histogram := samples[0].Value.Float64Histogram()
	for i, count := range histogram.Counts {
		report.Pauses += count
		if count > 0 {
			from, to := nano(histogram.Buckets[i]), nano(histogram.Buckets[i+1])
			report.Buckets = append(report.Buckets, [3]uint64{from, to, count})
		}
	}
	if samples[1].Value.Kind() == metrics.KindUint64 {
		report.Live = samples[1].Value.Uint64()
	}
	if samples[2].Value.Kind() == metrics.KindFloat64 {
		report.AssistSeconds = samples[2].Value.Float64()
	}
	report.MemProfile = runtime.MemProfileRate
	if heapProfile != nil {
		report.Profile = heapProfile()
	}
	file, err := os.Create(os.Args[3])
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(file).Encode(report); err != nil {
		panic(err)
	}
}
