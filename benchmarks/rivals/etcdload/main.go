// Loads etcd over gRPC with create-only transactions: one client with a connection of its own for each caller.
//
// Speaks benchmarks/worker.py's lines: {"verb", "callers", "seconds"} in, {"us", "seconds", "cpu_s"} out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

type question struct {
	Verb    string  `json:"verb"`
	Callers int     `json:"callers"`
	Seconds float64 `json:"seconds"`
}

type answer struct {
	Us      []int64 `json:"us"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_s"`
}

type load struct {
	endpoint string
	clients  []*clientv3.Client
	created  int64 // keys that were ever created, by number
	removed  int64 // those below are gone again
}

func main() {
	l := &load{endpoint: "127.0.0.1:" + os.Args[1]}
	say(struct{}{})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var q question
		must(json.Unmarshal(lines.Bytes(), &q))
		say(l.phase(q))
	}
}

// phase creates keys for so long, or removes all there are.
func (l *load) phase(q question) answer {
	for len(l.clients) < q.Callers {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{l.endpoint}, DialTimeout: 10 * time.Second})
		must(err)
		_, err = client.Get(context.Background(), "warm-up")
		must(err)
		l.clients = append(l.clients, client)
	}
	times := make([][]int64, q.Callers)
	spent, begin := cpu(), time.Now()
	end := begin.Add(time.Duration(q.Seconds * float64(time.Second)))
	var callers sync.WaitGroup
	for number := range times {
		callers.Add(1)
		go func(number int) {
			defer callers.Done()
			for first := true; first || l.more(q.Verb, end); first = false {
				start := time.Now()
				if !l.step(l.clients[number], q.Verb) {
					return
				}
				times[number] = append(times[number], time.Since(start).Microseconds())
			}
		}(number)
	}
	callers.Wait()
	told := answer{Seconds: time.Since(begin).Seconds(), CPU: cpu() - spent}
	for _, of := range times {
		told.Us = append(told.Us, of...)
	}
	return told
}

func (l *load) more(verb string, end time.Time) bool {
	return verb == "release" || time.Now().Before(end)
}

// step carries out one request; false if there is nothing left to remove.
func (l *load) step(client *clientv3.Client, verb string) bool {
	ctx := context.Background()
	if verb == "release" {
		number := atomic.AddInt64(&l.removed, 1)
		if number > atomic.LoadInt64(&l.created) {
			atomic.AddInt64(&l.removed, -1)
			return false
		}
		_, err := client.Delete(ctx, key(number))
		must(err)
		return true
	}
	name := key(atomic.AddInt64(&l.created, 1))
	absent := clientv3.Compare(clientv3.CreateRevision(name), "=", 0)
	done, err := client.Txn(ctx).If(absent).Then(clientv3.OpPut(name, name)).Commit()
	must(err)
	if !done.Succeeded {
		must(fmt.Errorf("%s was there already", name))
	}
	return true
}

func key(number int64) string {
	return fmt.Sprintf("grpc-%059d", number)
}

func cpu() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func say(told interface{}) {
	line, err := json.Marshal(told)
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}
