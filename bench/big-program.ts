/** A Go program of the size that large services have: its source is generated, and built once. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGES = 240;
const TYPES = 24;

/** Where the program is, which is built unless that has been done. Takes minutes. */
export function bigProgram(cache: string, go = process.env['GO'] ?? 'go'): string {
  const folder = join(cache, 'big-program');
  const program = join(folder, 'big');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const names = Array.from({ length: PACKAGES }, (_, index) => `component${index}`);
  writeFileSync(join(folder, 'go.mod'), 'module example.com/big\n\ngo 1.21\n');
  writeFileSync(join(folder, 'main.go'), mainSource(names));
  names.forEach((name, index) => {
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, name, `${name}.go`), packageSource(name, index));
  });
  execFileSync(go, ['build', '-o', `${program}.new`, '.'], { cwd: folder, stdio: 'inherit' });
  renameSync(`${program}.new`, program);
  return program;
}

function mainSource(names: readonly string[]): string {
  const imports = names.map((name) => `\t"example.com/big/${name}"`).join('\n');
  const calls = names.map((name) => `\t\t${name}.Use(ctx, n)`).join('\n');
  return `package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

${imports}
)

func main() {
	ctx := context.Background()
	// Never true, and nothing that the linker knows of.
	if n := len(os.Args) - 1; n > 1000 {
${calls}
		_ = http.ListenAndServe(os.Args[1], nil)
	}
	fmt.Println("ready")
	select {}
}
`;
}

function packageSource(name: string, seed: number): string {
  const types = Array.from({ length: TYPES }, (_, index) => typeSource(name, seed, index));
  const uses = Array.from({ length: TYPES }, (_, index) => useSource(index));
  return `// Package ${name} is generated.
package ${name}

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
)

var errClosed = errors.New("${name}: closed")

func clamp(value, low, high int) int {
	if value < low {
		return low
	}
	return min(value, high)
}

${types.join('\n')}
// Use keeps all of it in the program.
func Use(ctx context.Context, n int) {
	var handlers []http.Handler
${uses.join('\n')}
	for _, handler := range handlers {
		http.Handle(fmt.Sprint("/${name}/", n), handler)
	}
}
`;
}

function typeSource(name: string, seed: number, index: number): string {
  const type = `Controller${index}`;
  const item = `Record${index}`;
  return `// ${item} is what a ${type} keeps.
type ${item} struct {
	Name, Namespace string
	Labels          map[string]string
	Weight${seed}   int
	Created         time.Time
	Parent          *${item}
	Children        []*${item}
}

type ${type} struct {
	mutex   sync.Mutex
	records map[string]*${item}
	changed chan *${item}
	onEvent func(context.Context, *${item}) error
	closed  bool
}

type ${item}Source interface {
	Fetch${index}(ctx context.Context, name string) (*${item}, error)
	Watch${index}(ctx context.Context) (<-chan *${item}, error)
}

func New${type}(onEvent func(context.Context, *${item}) error) *${type} {
	return &${type}{records: map[string]*${item}{}, changed: make(chan *${item}, ${8 + index}), onEvent: onEvent}
}

func (c *${type}) Fetch${index}(ctx context.Context, name string) (*${item}, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return nil, fmt.Errorf("fetch %q: %w", name, errClosed)
	}
	record, found := c.records[name]
	if !found {
		record = &${item}{Name: name, Namespace: "${name}", Weight${seed}: clamp(len(name), ${index}, 100), Created: time.Now()}
		c.records[name] = record
	}
	return record, ctx.Err()
}

func (c *${type}) Watch${index}(ctx context.Context) (<-chan *${item}, error) {
	out := make(chan *${item})
	go func() {
		defer close(out)
		for {
			select {
			case record := <-c.changed:
				if record.matches(map[string]string{"app": "${name}"}) {
					out <- record
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (r *${item}) matches(wanted map[string]string) bool {
	for key, value := range wanted {
		if r.Labels[key] != value {
			return false
		}
	}
	return true
}

func (c *${type}) Reconcile${index}(ctx context.Context, names []string, retries int) (changed int, err error) {
	for attempt := 0; attempt < clamp(retries, 1, 10); attempt++ {
		for _, name := range names {
			record, failure := c.Fetch${index}(ctx, name)
			if failure != nil {
				err = errors.Join(err, failure)
				continue
			}
			if record.Weight${seed}%${3 + (index % 5)} == 0 {
				changed++
				if failure := c.onEvent(ctx, record); failure != nil {
					return changed, fmt.Errorf("%s/%s: %w", record.Namespace, record.Name, failure)
				}
			}
		}
	}
	return changed, err
}

func (c *${type}) Sorted${index}() []*${item} {
	records := make([]*${item}, 0, len(c.records))
	for _, record := range c.records {
		records = append(records, record)
	}
	sort.Slice(records, func(i, j int) bool {
		if records[i].Weight${seed} != records[j].Weight${seed} {
			return records[i].Weight${seed} < records[j].Weight${seed}
		}
		return strings.Compare(records[i].Name, records[j].Name) < 0
	})
	return records
}

func (c *${type}) Describe${index}(depth int) string {
	var text strings.Builder
	for _, record := range c.Sorted${index}() {
		record.describe(&text, depth)
	}
	return text.String()
}

func (r *${item}) describe(text *strings.Builder, depth int) {
	fmt.Fprintf(text, "%s%s/%s %d %v\\n", strings.Repeat("  ", depth), r.Namespace, r.Name, r.Weight${seed}, r.Created)
	for key, value := range r.Labels {
		fmt.Fprintf(text, "%s=%s ", strings.ToLower(key), strings.TrimSpace(value))
	}
	for _, child := range r.Children {
		child.describe(text, depth+1)
	}
}

func (c *${type}) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		fmt.Fprint(w, c.Describe${index}(0))
	case http.MethodPost:
		changed, err := c.Reconcile${index}(r.Context(), strings.Split(r.URL.RawQuery, "&"), ${index})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, changed)
	default:
		http.Error(w, "${type}", http.StatusMethodNotAllowed)
	}
}

func (c *${type}) Close${index}() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return errClosed
	}
	c.closed = true
	close(c.changed)
	return nil
}
`;
}

function useSource(index: number): string {
  return `	{
		c := NewController${index}(func(ctx context.Context, r *Record${index}) error {
			_, err := fmt.Println(r.Name, len(r.Children))
			return err
		})
		var source Record${index}Source = c
		_, _ = source.Watch${index}(ctx)
		if n%${index + 2} == 0 {
			defer c.Close${index}()
		}
		handlers = append(handlers, c)
	}`;
}
