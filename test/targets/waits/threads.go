package main

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// ThreadTime is what the kernel says of a goroutine's own thread while calls of a function ran, in
// nanoseconds.
type ThreadTime struct {
	Calls int   `json:"calls"`
	Wall  int64 `json:"wall"`
	CPU   int64 `json:"cpu"`
}

const threadCPUTime = 3 // CLOCK_THREAD_CPUTIME_ID

func cpuTime() int64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPUTime, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano()
}

//go:noinline
func blocked() {
	rest := syscall.NsecToTimespec(int64(wait))
	for syscall.Nanosleep(&rest, &rest) != nil {
	}
}

//go:noinline
func syncer(file *os.File) {
	if _, err := file.WriteAt(make([]byte, 4096), 0); err != nil {
		panic(err)
	}
	if err := file.Sync(); err != nil {
		panic(err)
	}
}

//go:noinline
func piper(file int) {
	syscall.Read(file, make([]byte, 1))
}

// Mixed waits by Go's scheduler, in the kernel, and not at all.
//
//go:noinline
func mixed(round int) {
	switch {
	case round%32 == 0:
		time.Sleep(20 * time.Microsecond)
	case round%32 == 16:
		rest := syscall.NsecToTimespec(20_000)
		syscall.Nanosleep(&rest, nil)
	}
	spin(30 * time.Microsecond)
}

// On threads of their own, with more goroutines than processors so that they are preempted.
func measureThreads(rounds, calls int, folder string) {
	counted := map[string]*ThreadTime{}
	count := func(name string, times int, call func(round int)) {
		c := &ThreadTime{Calls: times}
		for round := 0; round < times; round++ {
			cpu, begin := cpuTime(), time.Now()
			call(round)
			c.Wall += int64(time.Since(begin))
			c.CPU += cpuTime() - cpu
		}
		counted[name] = c
	}
	file, err := os.Create(filepath.Join(folder, "page"))
	if err != nil {
		panic(err)
	}
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		count("main.blocked", rounds, func(int) { blocked() })
		count("main.syncer", rounds, func(int) { syncer(file) })
		count("main.piper", rounds, func(int) {
			later(func() { syscall.Write(pipe[1], []byte("x")) })
			piper(pipe[0])
		})
		stop := make(chan struct{})
		for i := 0; i < runtime.NumCPU(); i++ {
			go func() {
				for {
					select {
					case <-stop:
						return
					default:
						spin(time.Millisecond)
					}
				}
			}()
		}
		count("main.mixed", calls, mixed)
		close(stop)
		close(done)
	}()
	<-done
	write(filepath.Join(folder, "counted.json"), counted)
}
