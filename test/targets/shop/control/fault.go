package control

import (
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/fault"
)

// Built in by -ldflags "-X example.com/shop/control.builtIn=sleep:3": a fault and its seed.
var builtIn string

// What an order runs through, and waits for.
var (
	withContext = []string{
		"main.(*TraceHeader).ServeHTTP", "main.(*OrderHandler).ServeHTTP", "main.parseOrder",
		"main.(*Receipt).write", "main.(*Shop).PlaceOrder", "main.(*Shop).audit",
		"main.(*Shop).pay", "main.(*Shop).confirm", "main.book", "main.(*Shop).reserveStock",
		"main.(*Stock).take", "main.(*Payments).submit", "main.(*Payments).process",
		"main.(*Payments).process.func1", "main.Retry[...]", "main.(*Payments).authorise",
		"main.(*Ledger).post",
	}
	withoutContext = []string{
		"main.number", "main.(*Shop).applyCoupon", "main.(*Discount).best",
		"main.(*Order).validate", "main.Cart.Total", "main.Sum[...]", "main.fee",
		"main.checkAuthorisation", "main.(*Stock).lookUp", "main.(*Stock).count",
		"main.simulate",
	}
	failing = []string{
		"main.(*Order).validate", "main.(*Shop).reserveStock", "main.(*Stock).take",
		"main.(*Stock).count", "main.(*Payments).authorise",
	}
)

// What an error is for, and whose requests are slow.
const (
	slowTenant = "acme"
	failingSKU = "sku-3"
)

func init() {
	if builtIn == "" {
		return
	}
	kind, seed, _ := strings.Cut(builtIn, ":")
	number, err := strconv.ParseUint(seed, 10, 64)
	if err == nil {
		err = fault.Set(chosen(kind, number))
	}
	if err != nil {
		log.Fatal(err)
	}
}

// chosen puts a fault into a function by a seed.
func chosen(kind string, seed uint64) fault.Settings {
	places := append(withContext[:len(withContext):len(withContext)], withoutContext...)
	switch kind {
	case "tenant":
		places = withContext
	case "error":
		places = failing
	}
	function := places[rand.New(rand.NewPCG(seed, uint64(len(kind)))).IntN(len(places))]
	key := slowTenant
	if function == "main.(*Stock).take" || function == "main.(*Stock).count" {
		if kind == "error" {
			key = failingSKU
		}
	}
	duration := 40 * time.Millisecond
	switch kind {
	case "cpu", "allocation":
		// What takes the CPU takes it from others too.
		duration = 25 * time.Millisecond
	case "pool":
		// Half of that on average.
		duration = 80 * time.Millisecond
	}
	return fault.Settings{
		Kind: kind, Function: function, Share: 5, Duration: duration, Times: 40, Key: key,
	}
}

// setFault answers which function it is; without a kind the shop is well again.
func setFault(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	seed, err := strconv.ParseUint(query.Get("seed"), 10, 64)
	if err != nil && query.Get("kind") != "" {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	settings := fault.Settings{}
	if kind := query.Get("kind"); kind != "" {
		settings = chosen(kind, seed)
	}
	if err := fault.Set(settings); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, settings.Function)
}
