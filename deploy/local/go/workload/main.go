// Workload is the program inside the containers of real nodes.
//
// What it does is said by its environment alone, so that a test breaks it and a remedy mends it by
// changing an environment variable, as with a real program:
//
//	FAIL           panic, refused, oom, config or exit: how it ends; nothing: it goes on
//	FAIL_AFTER     seconds before it ends so (default 0.5)
//	EXIT_CODE      the exit code of FAIL=exit (default 1)
//	LOG_EVERY      seconds between two lines of log (default: only at the start)
//	PORT           the port of /healthz, /readyz and /metrics (default: none)
//	READY_AFTER    seconds before /readyz says yes (default 0)
//	METRICS        what /metrics says beside the program's own; see metrics.go
//
// As a command inside the container it helps with exec: exit N, env [NAME], sleep SECONDS, get URL.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

var started = time.Now()

func main() {
	if filepath.Base(os.Args[0]) == "pause" {
		waitForEnd()
	}
	if len(os.Args) > 1 {
		os.Exit(command(os.Args[1], os.Args[2:]))
	}
	say("info", "started version=%s pid=%d", os.Getenv("VERSION"), os.Getpid())
	if port := os.Getenv("PORT"); port != "" {
		go serve(port)
	}
	if every := seconds("LOG_EVERY", 0); every > 0 {
		go func() {
			for count := 1; ; count++ {
				time.Sleep(every)
				say("info", "request handled count=%d", count)
			}
		}()
	}
	if mode := os.Getenv("FAIL"); mode != "" {
		time.Sleep(seconds("FAIL_AFTER", 500*time.Millisecond))
		fail(mode)
	}
	waitForEnd()
}

// command runs one of the helpers and gives its exit code.
func command(name string, arguments []string) int {
	first := ""
	if len(arguments) > 0 {
		first = arguments[0]
	}
	switch name {
	case "exit":
		code, _ := strconv.Atoi(first)
		return code
	case "env":
		if first != "" {
			fmt.Println(os.Getenv(first))
			return 0
		}
		for _, pair := range os.Environ() {
			fmt.Println(pair)
		}
		return 0
	case "sleep":
		amount, _ := strconv.ParseFloat(first, 64)
		time.Sleep(time.Duration(amount * float64(time.Second)))
		return 0
	case "get":
		answer, err := http.Get(first)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer answer.Body.Close()
		if _, err := io.Copy(os.Stdout, answer.Body); err != nil || answer.StatusCode >= 400 {
			fmt.Fprintln(os.Stderr, answer.Status, err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "there is no command %s; there are: exit, env, sleep, get\n", name)
	return 64
}

// fail ends the program in one of the ways in which programs end.
func fail(mode string) {
	switch mode {
	case "panic":
		var nothing *struct{ value int }
		fmt.Println(nothing.value)
	case "refused":
		address := os.Getenv("DEPENDENCY")
		if address == "" {
			address = "10.0.0.1:6379"
		}
		// The words are the ones of a real refusal; no connection is tried, since nothing may leave the machine.
		say("error", "cannot reach the cache: dial tcp %s: connect: connection refused", address)
		os.Exit(1)
	case "oom":
		say("info", "loading the whole table into memory")
		var held [][]byte
		for {
			block := make([]byte, 8<<20)
			for place := 0; place < len(block); place += 4096 {
				block[place] = 1 // only touched pages count
			}
			held = append(held, block)
			time.Sleep(10 * time.Millisecond)
			_ = held
		}
	case "config":
		say("error", "invalid configuration: environment variable DATABASE_URL is not set")
		os.Exit(78)
	case "exit":
		code, err := strconv.Atoi(os.Getenv("EXIT_CODE"))
		if err != nil {
			code = 1
		}
		say("error", "ending with exit code %d", code)
		os.Exit(code)
	default:
		say("error", "FAIL=%s is not known; there are: panic, refused, oom, config, exit", mode)
		os.Exit(64)
	}
}

func serve(port string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if time.Since(started) < seconds("READY_AFTER", 0) {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "workload_up_seconds %.1f\n", time.Since(started).Seconds())
		for _, line := range metricLines(os.Getenv("METRICS"), os.Getenv) {
			fmt.Fprintln(w, line)
		}
	})
	if err := http.ListenAndServe(net.JoinHostPort("", port), mux); err != nil {
		say("error", "cannot listen: %v", err)
		os.Exit(1)
	}
}

// waitForEnd returns to nobody: it leaves with 0 when it is asked to end, at once, as PID 1 does only by itself.
func waitForEnd() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
	os.Exit(0)
}

func say(level, format string, arguments ...any) {
	fmt.Printf("%s level=%s msg=%q\n", time.Now().UTC().Format(time.RFC3339Nano), level, fmt.Sprintf(format, arguments...))
}

func seconds(name string, otherwise time.Duration) time.Duration {
	amount, err := strconv.ParseFloat(os.Getenv(name), 64)
	if err != nil {
		return otherwise
	}
	return time.Duration(amount * float64(time.Second))
}
