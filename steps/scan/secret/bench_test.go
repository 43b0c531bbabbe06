package secret

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packagesIndex writes a file like those in var/lib/apt/lists: words, names of
// maintainers, and two hexadecimal digests in each stanza.
func packagesIndex(size int) []byte {
	words := strings.Fields(`global keyring lobster task desktop awk draws the master password linear
		library for interface discover configuration container secret signing keys public private asana-less ask
		pkg.el twitter client dropbox finite ionic-liquid adobe fonts mailgun-like sv=1 token tokens beamer class`)
	r := rand.New(rand.NewPCG(5, 6))
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "Package: %s-%d\nVersion: %d.%d-1\nDepends:", words[r.IntN(len(words))], i, i%9, i%77)
		for range 25 {
			fmt.Fprintf(&b, " %s%d (>= %d),", words[r.IntN(len(words))], r.IntN(9), r.IntN(9))
		}
		fmt.Fprintf(&b, "\nMD5sum: %016x%016x\nSHA256: %016x%016x%016x%016x\n\n", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	}
	return b.Bytes()[:size]
}

// processorTime is what this process has used of its cores.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkPackagesIndex(b *testing.B) {
	data := packagesIndex(8 << 20)
	for _, by := range []struct {
		name string
		scan func()
	}{
		{"ours", func() { scan(b, newScanner(b, ""), "var/lib/apt/lists/Packages", data) }},
		{"Trivy", func() { newJudge(b, "").scan(b, "var/lib/apt/lists/Packages", data) }},
	} {
		b.Run(by.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			begin := processorTime(b)
			for b.Loop() {
				by.scan()
			}
			b.ReportMetric(float64((processorTime(b)-begin).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// A scanner is made once in a process, when the first layer is not known yet.
func BenchmarkStart(b *testing.B) {
	b.Run("rules", func(b *testing.B) {
		for b.Loop() {
			newScanner(b, "")
		}
	})
	b.Run("sieve", func(b *testing.B) {
		s := newScanner(b, "")
		for b.Loop() {
			newSieve(conditions(s.rules.Rules))
		}
	})
}

// A configuration is scanned each time, though all layers are known.
func BenchmarkConfig(b *testing.B) {
	s := newScanner(b, "")
	config := []byte(`{"config": {"Env": ["PATH=/usr/bin", "GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568"]}, "history": [` +
		strings.Repeat(`{"created_by": "RUN apt-get install -y --no-install-recommends task global"}, `, 40) + `{}]}`)
	for b.Loop() {
		if _, err := s.Config(b.Context(), config); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWants(b *testing.B) {
	s := newScanner(b, "")
	paths := []string{"etc/ssl/openssl.cnf", "usr/bin/perl", "usr/share/doc/bash/copyright", "srv/app/node_modules/a/index.js"}
	for i := 0; b.Loop(); i++ {
		s.Wants(paths[i%len(paths)], 1000)
	}
}
