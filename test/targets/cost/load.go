package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const connections = 64

// load sends requests at their times, whether those before have been answered or not: latency is
// from when a request was due, so that a service that stops is not asked less for it.
func load(args []string) {
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: cost load URL RATE SECONDS")
		os.Exit(2)
	}
	rate, _ := strconv.ParseFloat(args[1], 64)
	seconds, _ := strconv.ParseFloat(args[2], 64)
	total := int(rate * seconds)
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}
	due := make(chan time.Time, total)
	latencies := make([]float64, 0, total)
	failures := 0
	var lock sync.Mutex
	var done sync.WaitGroup
	for range connections {
		done.Go(func() {
			for at := range due {
				failed := get(client, args[0])
				took := time.Since(at)
				lock.Lock()
				if failed {
					failures++
				}
				latencies = append(latencies, took.Seconds()*1e3)
				lock.Unlock()
			}
		})
	}
	begin := time.Now()
	for n := range total {
		at := begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		time.Sleep(time.Until(at))
		due <- at
	}
	close(due)
	done.Wait()
	elapsed := time.Since(begin).Seconds()
	slices.Sort(latencies)
	at := func(share float64) float64 { return latencies[min(total-1, int(share*float64(total)))] }
	_ = json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"requests":  float64(total),
		"failures":  float64(failures),
		"perSecond": float64(total) / elapsed,
		"p50Ms":     at(0.5),
		"p99Ms":     at(0.99),
		"maxMs":     at(1),
	})
}

func get(client *http.Client, url string) (failed bool) {
	response, err := client.Get(url)
	if err != nil {
		return true
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err != nil || response.StatusCode != http.StatusOK
}
