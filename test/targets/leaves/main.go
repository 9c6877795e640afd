// Command leaves calls functions that need no stack, and so do not check it, each as often as it is
// told from each of four goroutines, whose stacks grow meanwhile.
//
//	leaves CALLS
package main

import (
	"os"
	"strconv"
	"sync"
)

type node struct {
	value int
	next  *node
}

//go:noinline
func branch(n int) int {
	if n == 0 {
		return 1
	}
	return n * 2
}

//go:noinline
func load(of *node) int {
	value := of.value
	if value == 3 {
		return 7
	}
	return value + 1
}

//go:noinline
func straight(a, b int) int {
	return a*3 + b
}

//go:noinline
func walk(from *node) int {
	sum := 0
	for ; from != nil; from = from.next {
		sum += from.value
	}
	return sum
}

//go:noinline
func choose(n int) int {
	switch n & 15 {
	case 0:
		return 3
	case 1:
		return 1
	case 2:
		return 4
	case 3:
		return 15
	case 4:
		return 9
	case 5:
		return 2
	case 6:
		return 6
	case 7:
		return 5
	case 8:
		return 35
	case 9:
		return 8
	}
	return n
}

//go:noinline
func framed(n int, of *node) int {
	return branch(n) + load(of) + straight(n, n) + walk(of) + choose(n)
}

//go:noinline
func deep(depth int) int {
	var frame [512]int
	frame[depth] = depth
	if depth == 0 {
		return 0
	}
	return deep(depth-1) + frame[depth]
}

func main() {
	calls, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	list := &node{1, &node{2, &node{value: 3}}}
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < calls; n++ {
				framed(n, list)
				if n == calls/2 {
					deep(30)
				}
			}
		}()
	}
	all.Wait()
}
