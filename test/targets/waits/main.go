// Command waits calls functions each of which waits for something else, and says how long each took
// and how many it called, so that a tracer's account can be compared.
//
//	waits ROUNDS FILE
//	waits ROUNDS CALLS FOLDER
//	waits profile ROUNDS FILE
//	waits account CALLS FILE
//	waits coroutines ROUNDS FILE
//
// The second says the same of threads, and how long they had a processor, in FOLDER/counted.json. The
// third says what Go's block and mutex profiles have of the first's calls, and of a lock that many
// want; the fourth what the runtime and the kernel know of the time of calls that do a bit of everything. The
// last is the first, with coroutines, which Go has since 1.23.
package main

import (
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// Counted is what a function's calls took, in nanoseconds of the program's own clock.
type Counted struct {
	Calls int   `json:"calls"`
	Nano  int64 `json:"nano"`
}

var counted = map[string]*Counted{}

// Each on a goroutine of its own that does nothing else, one at a time.
func measure(name string, call func()) {
	done := make(chan struct{})
	go func() {
		begin := time.Now()
		call()
		c := counted[name]
		if c == nil {
			c = &Counted{}
			counted[name] = c
		}
		c.Calls++
		c.Nano += int64(time.Since(begin))
		close(done)
	}()
	<-done
}

const wait = 3 * time.Millisecond

var mutex sync.Mutex

// What holds the lock, so that it is known by name.
//
//go:noinline
func holder(held chan struct{}) {
	mutex.Lock()
	close(held)
	spin(3 * wait)
	mutex.Unlock()
}

//go:noinline
func locker() {
	mutex.Lock()
	mutex.Unlock()
}

//go:noinline
func sleeper() { time.Sleep(wait) }

//go:noinline
func receiver(values chan int) int { return <-values }

//go:noinline
func sender(values chan int) { values <- 1 }

//go:noinline
func selector(a, b chan int) int {
	select {
	case value := <-a:
		return value
	case value := <-b:
		return value
	}
}

//go:noinline
func waiter(group *sync.WaitGroup) { group.Wait() }

//go:noinline
func reader(connection net.Conn, bytes []byte) int {
	n, _ := connection.Read(bytes)
	return n
}

//go:noinline
func runner() { spin(wait) }

// Outer waits for what runs beneath it.
//
//go:noinline
func outer() {
	inner()
	inner()
}

//go:noinline
func inner() { time.Sleep(wait) }

//go:noinline
func spin(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}

func later(act func()) {
	go func() {
		time.Sleep(wait)
		act()
	}()
}

func measureAll(rounds int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	server, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	for round := 0; round < rounds; round++ {
		held := make(chan struct{})
		go holder(held)
		<-held
		measure("main.locker", locker)
		measure("main.sleeper", sleeper)
		values := make(chan int)
		later(func() { values <- 1 })
		measure("main.receiver", func() { receiver(values) })
		later(func() { <-values })
		measure("main.sender", func() { sender(values) })
		later(func() { values <- 1 })
		measure("main.selector", func() { selector(values, make(chan int)) })
		group := &sync.WaitGroup{}
		group.Add(1)
		later(group.Done)
		measure("main.waiter", func() { waiter(group) })
		later(func() { server.Write([]byte("x")) })
		measure("main.reader", func() { reader(client, make([]byte, 1)) })
		measure("main.runner", runner)
		measure("main.outer", outer)
	}
}

// Where there are any.
var coroutines func(rounds int)

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func main() {
	switch {
	case os.Args[1] == "profile":
		profileAll(number(os.Args[2]), os.Args[3])
	case os.Args[1] == "account":
		account(number(os.Args[2]), os.Args[3])
	case os.Args[1] == "coroutines":
		coroutines(number(os.Args[2]))
		write(os.Args[3], counted)
	case len(os.Args) > 3:
		measureThreads(number(os.Args[1]), number(os.Args[2]), os.Args[3])
	default:
		measureAll(number(os.Args[1]))
		write(os.Args[2], counted)
	}
}
