// The one program that the pods of the suite run: it burns the CPU and holds the memory that it is told to.
//
//	load          GET /?cpu=MILLICORES&memory=MIB on :8080 (or $PORT) sets both; $CPU and $MEMORY are what it starts with
//	load pause    what keeps a pod's namespaces open
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const slice = 10 * time.Millisecond

var millicores atomic.Int64

var held struct {
	sync.Mutex
	blocks [][]byte
}

// One of as many burners as it takes: the n-th takes what is above n cores.
func burn(n int64) {
	for {
		begin := time.Now()
		share := min(max(millicores.Load()-n*1000, 0), 1000)
		busy := slice * time.Duration(share) / 1000
		for time.Since(begin) < busy {
		}
		time.Sleep(slice - busy)
	}
}

func hold(mib int) {
	held.Lock()
	defer held.Unlock()
	for len(held.blocks) < mib {
		block := make([]byte, 1<<20)
		for page := 0; page < len(block); page += 4096 {
			block[page] = 1
		}
		held.blocks = append(held.blocks, block)
	}
	clear(held.blocks[mib:])
	held.blocks = held.blocks[:mib]
	debug.FreeOSMemory()
}

func set(cpu, memory string) error {
	if cpu != "" {
		value, err := strconv.ParseInt(cpu, 10, 64)
		if err != nil {
			return err
		}
		millicores.Store(value)
	}
	if memory != "" {
		value, err := strconv.Atoi(memory)
		if err != nil || value < 0 {
			return fmt.Errorf("memory: %q", memory)
		}
		hold(value)
	}
	return nil
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) < 2 || os.Args[1] != "pause" {
		if err := set(os.Getenv("CPU"), os.Getenv("MEMORY")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		for n := range int64(2) {
			go burn(n)
		}
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if err := set(r.FormValue("cpu"), r.FormValue("memory")); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
		port := os.Getenv("PORT")
		if port == "" {
			port = "8080"
		}
		go http.ListenAndServe(":"+port, nil)
	}
	<-stop
}
