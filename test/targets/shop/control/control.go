// Package control is what a test asks the shop. It is a package of its own, without spans, so
// that asking leaves no mark on a trace of `main.*`.
package control

import (
	"encoding/json"
	"net/http"

	"example.com/shop/telemetry"
	"example.com/shop/truth"
)

// Register adds /health, /counters and /flush.
func Register(mux *http.ServeMux, t *telemetry.Telemetry) {
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("/counters", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"calls": truth.Calls(),
			"spans": map[string]uint64{
				"started":  t.Spans.Started.Load(),
				"ended":    t.Spans.Ended.Load(),
				"exported": t.Spans.Exported.Load(),
				"failed":   t.Spans.Failed.Load(),
			},
		})
	})
	mux.HandleFunc("POST /flush", func(w http.ResponseWriter, r *http.Request) {
		if err := t.Flush(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if err := truth.Flush(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write([]byte("flushed\n"))
	})
}
