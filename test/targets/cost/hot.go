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

// hot makes at most so many calls a second and prints every 10 ms a line: nanoseconds of the
// monotonic clock, calls since the line before. When it cannot keep up it makes fewer.
func hot(args []string) {
	perSecond := 1_000_000
	if len(args) > 0 {
		perSecond, _ = strconv.Atoi(args[0])
	}
	const span = 10 * time.Millisecond
	wanted := perSecond / int(time.Second/span)
	begin := time.Now()
	for due := begin; ; {
		due = due.Add(span)
		made := 0
		for made < wanted && (made&63 != 0 || time.Now().Before(due)) {
			tick(made)
			made++
		}
		time.Sleep(time.Until(due))
		fmt.Println(time.Since(begin).Nanoseconds(), made)
		// Lost time is not made up for.
		if late := time.Since(due); late > span {
			due = due.Add(late)
		}
	}
}
