// Shop is a small HTTP service with the official OpenTelemetry SDK: what is traced in tests and
// in the demo. Every function of this package reports to package truth, so that a test knows all
// calls that a tracer of `main.*` must find. README.md one folder up describes it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/shop/control"
	"example.com/shop/telemetry"
	"example.com/shop/truth"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	if path := os.Getenv("SHOP_TRUTH"); path != "" {
		if err := truth.Open(path); err != nil {
			log.Fatal(err)
		}
	}
	defer truth.Enter(nil, "main.main")()
	if err := run(*listen); err != nil {
		log.Fatal(err)
	}
}

func run(listen string) error {
	defer truth.Enter(nil, "main.run")()
	io, err := time.ParseDuration(environment("SHOP_IO", "0s"))
	if err != nil {
		return err
	}
	t, err := telemetry.Start(context.Background())
	if err != nil {
		return err
	}
	shop := NewShop(t.Tracer, io)
	server := &http.Server{Handler: routes(shop, t)}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	failed := make(chan error, 1)
	go func() {
		defer truth.Enter(nil, "main.run.func1")()
		failed <- server.Serve(listener)
	}()
	fmt.Printf("listening on http://%s\n", listener.Addr())

	select {
	case err = <-failed:
	case <-signals:
	}
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server.Shutdown(deadline)
	t.Stop(deadline)
	truth.Flush()
	return err
}

func environment(variable, otherwise string) string {
	defer truth.Enter(nil, "main.environment")()
	if value, ok := os.LookupEnv(variable); ok {
		return value
	}
	return otherwise
}

func routes(shop *Shop, t *telemetry.Telemetry) http.Handler {
	defer truth.Enter(nil, "main.routes")()
	traced := http.NewServeMux()
	traced.Handle("/order", &OrderHandler{shop})
	traced.Handle("/panic", &PanicHandler{shop})
	traced.Handle("/deep", &DeepHandler{shop})
	traced.Handle("/exit", &ExitHandler{shop})
	traced.Handle("/burn", &BurnHandler{})
	traced.Handle("/archive", &ArchiveHandler{shop})
	traced.Handle("/audit", &AuditHandler{shop})
	return &control.Handler{Telemetry: t, Rest: telemetry.Handler(&TraceHeader{traced})}
}
