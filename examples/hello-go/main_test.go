package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	server := httptest.NewServer(routes("web"))
	defer server.Close()
	for _, tc := range []struct {
		path string
		code int
		want string
	}{
		{"/", http.StatusOK, "Hello, world!"},
		{"/?name=Ada", http.StatusOK, "Hello, Ada!"},
		{"/web/", http.StatusOK, "<h1>Hello</h1>"},
		{"/healthz", http.StatusOK, "ok"},
		{"/nowhere", http.StatusNotFound, "404"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			response, err := http.Get(server.URL + tc.path)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.code || !strings.Contains(string(body), tc.want) {
				t.Errorf("got %s %q, want %d with %q", response.Status, body, tc.code, tc.want)
			}
		})
	}
}

func TestPort(t *testing.T) {
	for given, want := range map[string]string{"": "8080", "9090": "9090"} {
		if got := port(func(string) string { return given }); got != want {
			t.Errorf("PORT=%q: listening on %s, want %s", given, got, want)
		}
	}
}

func TestHealthFailsWhereNobodyListens(t *testing.T) {
	server := httptest.NewServer(routes("web"))
	addr := server.Listener.Addr().String()
	addr = addr[strings.LastIndex(addr, ":"):]
	if err := checkHealth(t.Context(), addr); err != nil {
		t.Errorf("running service: %v", err)
	}
	server.Close()
	if err := checkHealth(t.Context(), addr); err == nil {
		t.Error("stopped service counts as healthy")
	}
}
