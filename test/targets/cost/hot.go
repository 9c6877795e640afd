package main

import (
	"fmt"
	"strconv"
	"time"
)

//go:noinline
func tick(n int) int {
	count(n)
	return counter
}

//go:noinline
func seldom(n int) int {
	return len(strconv.Itoa(n))
}

// hot makes at most so many calls of tick a second, and some of seldom, and prints every 10 ms a
// line: nanoseconds of the monotonic clock, calls of tick since the line before. When it cannot keep
// up it makes fewer.
func hot(args []string) {
	numbers := []int{1_000_000, 0}
	for i, arg := range args {
		numbers[i], _ = strconv.Atoi(arg)
	}
	const span = 10 * time.Millisecond
	wanted := numbers[0] / int(time.Second/span)
	others := numbers[1] / int(time.Second/span)
	begin := time.Now()
	for due := begin; ; {
		due = due.Add(span)
		made := 0
		for made < wanted && (made&63 != 0 || time.Now().Before(due)) {
			tick(made)
			made++
		}
		for n := range others {
			seldom(n)
		}
		time.Sleep(time.Until(due))
		fmt.Println(time.Since(begin).Nanoseconds(), made)
		// Lost time is not made up for.
		if late := time.Since(due); late > span {
			due = due.Add(late)
		}
	}
}
