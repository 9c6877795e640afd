// Command cost is what the benchmarks trace, and what puts load on it:
//
//	cost calls                  reads "framed N" or "context N HOPS", makes N calls, prints ns of CPU each
//	cost serve [PROCS]          an HTTP service whose requests make ten calls of main.step
//	cost hot RATE [SELDOM]      so many calls a second of main.tick, and prints how many each 10 ms;
//	                            and so many of main.seldom
//	cost load URL RATE SECONDS  requests at a fixed rate, latencies from when each was due
package main

import (
	"fmt"
	"os"
)

func main() {
	modes := map[string]func([]string){"calls": calls, "serve": serve, "hot": hot, "load": load}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: cost calls | serve | hot | load")
		os.Exit(2)
	}
	modes[os.Args[1]](os.Args[2:])
}
