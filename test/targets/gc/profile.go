//go:build profile

package main

import (
	"math"
	"runtime"
)

// Where it is there the linker leaves the heap profile on.
func init() {
	heapProfile = allocatedByFunction
}

// Scaled as pprof does; each record is of objects of one size.
func allocatedByFunction() map[string]float64 {
	// What has been allocated since is in no profile before a second cycle has ended.
	runtime.GC()
	runtime.GC()
	records := make([]runtime.MemProfileRecord, 10_000)
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		panic("more records than there is room for")
	}
	bytes := map[string]float64{}
	for _, record := range records[:n] {
		// Of the last cycle, and not yet in the profile.
		if record.AllocObjects == 0 {
			continue
		}
		size := float64(record.AllocBytes) / float64(record.AllocObjects)
		scale := 1 / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
		frames := runtime.CallersFrames(record.Stack())
		for more := true; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			bytes[frame.Function] += float64(record.AllocBytes) * scale
		}
	}
	return bytes
}
