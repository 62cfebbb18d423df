// The one program that the pods of the suite run: it burns the CPU and holds the memory that it is
// told to.
//
//	load          GET /?cpu=MILLICORES&memory=MIB on :8080 (or $PORT) sets both; $CPU and
//	              $MEMORY are what it starts with.
//	              GET /limits tells what its cgroup allows it: "MILLICORES BYTES", 0 for no limit
//	load pause    what keeps a pod's namespaces open
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
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

// The numbers of the first file that is there; "max" and -1 mean no limit, and so does what no
// machine has.
func numbers(paths ...string) []int64 {
	var found []int64
	for _, path := range paths {
		text, err := os.ReadFile("/sys/fs/cgroup/" + path)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			number, err := strconv.ParseInt(field, 10, 64)
			if err != nil || number < 0 || number > 1<<50 {
				number = 0
			}
			found = append(found, number)
		}
	}
	return found
}

func limits(w http.ResponseWriter, _ *http.Request) {
	cpu := numbers("cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
	memory := numbers("memory.max", "memory/memory.limit_in_bytes")
	if len(cpu) != 2 || len(memory) != 1 {
		http.Error(w, "no cgroup files", http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, cpu[0]*1000/cpu[1], " ", memory[0])
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
		http.HandleFunc("/limits", limits)
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
