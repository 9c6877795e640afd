package fault

import (
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func (s *state) prepare() error {
	switch s.Kind {
	case "pool":
		s.workers = make(chan struct{})
		go s.work()
	case "network":
		var err error
		s.network, err = serve(s)
		return err
	}
	return nil
}

func (s *state) sleep(context.Context) { time.Sleep(s.Duration) }

var mutex sync.Mutex

// Hold is what another request does: it holds the lock that the slow function waits for.
func Hold() {
	s := now.Load()
	if s == nil || s.Kind != "lock" {
		return
	}
	mutex.Lock()
	time.Sleep(s.Duration)
	mutex.Unlock()
}

func (s *state) lock(context.Context) {
	mutex.Lock()
	mutex.Unlock()
}

// Kept, so that the compiler cannot put what is allocated on the stack.
var garbage [64]atomic.Pointer[[16 << 10]byte]

// allocate goes on for as long as was asked for, since how fast that is depends on the host.
func (s *state) allocate(context.Context) {
	for end := time.Now().Add(s.Duration); time.Now().Before(end); {
		for i := range garbage {
			garbage[i].Store(new([16 << 10]byte))
		}
	}
}

func (s *state) call(context.Context) {
	for range s.Times {
		Row()
	}
}

func (s *state) burn(context.Context) {
	var sum uint64
	for end := time.Now().Add(s.Duration); time.Now().Before(end); {
		for n := range uint64(1000) {
			sum += n * sum
		}
	}
	runtime.KeepAlive(sum)
}

// work is a pool of one that is busy nearly all the time.
func (s *state) work() {
	for {
		time.Sleep(s.Duration)
		select {
		case <-s.stop:
			// Whoever waits is let go.
			close(s.workers)
			return
		case s.workers <- struct{}{}:
		case <-time.After(time.Millisecond):
		}
	}
}

// wait is for a free worker.
func (s *state) wait(context.Context) { <-s.workers }

// server answers slowly.
type server struct{ address string }

func serve(s *state) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		<-s.stop
		listener.Close()
	}()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				time.Sleep(s.Duration)
				connection.Write([]byte("done\n"))
			}()
		}
	}()
	return &server{listener.Addr().String()}, nil
}

func (s *state) ask(context.Context) {
	connection, err := net.Dial("tcp", s.network.address)
	if err != nil {
		return
	}
	defer connection.Close()
	answer := make([]byte, 16)
	connection.Read(answer)
}
