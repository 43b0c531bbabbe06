// Command hello answers HTTP requests with a greeting and a page.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed VERSION
var version string

func main() {
	health := flag.Bool("health", false, "ask the running service whether it is well, and exit 0 if so")
	flag.Parse()
	run := serve
	if *health {
		run = checkHealth
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, ":"+port(os.Getenv)); err != nil {
		slog.Error("hello", "error", err)
		os.Exit(1)
	}
}

// port is where the service listens: $PORT, or the one the image exposes.
func port(getenv func(string) string) string {
	if given := getenv("PORT"); given != "" {
		return given
	}
	return "8080"
}

// pages is the folder in the image that is served below /web/.
const pages = "/srv/web"

// routes is the service: a greeting, the pages in a folder, and its health.
func routes(pages string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /web/", http.StripPrefix("/web/", http.FileServer(http.Dir(pages))))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		if name == "" {
			name = "world"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "Hello, %s! This is hello %s.\n", name, strings.TrimSpace(version))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// serve answers until ctx ends, then lets running requests finish.
func serve(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes(pages), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	slog.Info("listening", "address", listener.Addr().String(), "version", strings.TrimSpace(version))
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// checkHealth is what HEALTHCHECK runs: the image has no shell and no curl.
func checkHealth(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("health: " + response.Status)
	}
	return nil
}
