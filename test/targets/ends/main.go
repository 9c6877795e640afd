// Command ends calls main.outer, which calls main.middle, which calls main.inner ten times and then
// ends the process in the way it is told. Before that another goroutine has begun main.wait, which
// never returns.
//
//	ends panic | repanic | error | throw | exit | kill | exec FILE | return
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const rounds = 10

var forever = make(chan struct{})

//go:noinline
func inner(round int) int {
	if round < 0 {
		fmt.Println("negative")
	}
	return round
}

//go:noinline
func wait(began chan<- struct{}) {
	close(began)
	<-forever
}

//go:noinline
func outer(how string) {
	middle(how)
	fmt.Println("returned")
}

// A deferred call that is open on top of the panicking ones when the process ends.
//
//go:noinline
func again() { panic("once more") }

//go:noinline
func middle(how string) {
	for round := 0; round < rounds; round++ {
		inner(round)
	}
	switch how {
	case "panic":
		panic("nobody recovers this")
	case "repanic":
		defer again()
		panic("first")
	case "error":
		panic(errors.New("an error"))
	case "throw":
		both := map[int]int{}
		go func() {
			for {
				both[1]++
			}
		}()
		for {
			both[1]++
		}
	case "exit":
		os.Exit(3)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case "exec":
		syscall.Exec("/bin/true", []string{"true"}, nil)
	}
}

func main() {
	began := make(chan struct{})
	go wait(began)
	<-began
	outer(os.Args[1])
}
