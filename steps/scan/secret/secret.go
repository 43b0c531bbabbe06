// Package secret finds secrets in files: the findings of Trivy v0.74.0's scanner
// with the same rules, in a fraction of its time.
//
// Trivy cuts a file into overlapping chunks and runs on a chunk every rule whose
// keyword it holds. Here a [sieve] decides first, in one pass over the chunk,
// which rules can match at all; their expressions then do the rest. The chunks
// of all files are looked at by as many goroutines as there are cores.
//
// None of it is Trivy's code: see [builtin]. Tests hold it to Trivy's answers.
package secret

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
)

// Version goes up whenever the same rules may find something else in the same
// files.
const Version = 1

// Options of [New].
type Options struct {
	// Config is what a trivy-secret.yaml holds. Default: nil, which means
	// Trivy's rules as they are.
	Config []byte
}

// Scanner finds secrets. It may be used by several goroutines at once.
type Scanner struct {
	rules  *ruleSet
	id     string
	paths  *skipper
	sieve  func() *sieve // of the rules
	chunks chan *chunk   // those at rest; nil: not made yet
}

// New returns a scanner with Trivy's rules and those of the user, which mean what
// they mean to Trivy.
func New(o Options) (*Scanner, error) {
	rules, err := readRules(o.Config)
	if err != nil {
		return nil, fmt.Errorf("read rules for secrets: %w", err)
	}
	s := &Scanner{
		rules:  rules,
		id:     digest(o.Config),
		paths:  newSkipper(rules),
		sieve:  sync.OnceValue(func() *sieve { return newSieve(conditions(rules.Rules)) }),
		chunks: make(chan *chunk, chunksFor(runtime.GOMAXPROCS(0))),
	}
	for range cap(s.chunks) {
		s.chunks <- nil
	}
	return s, nil
}

// chunksFor returns how many chunks may be in memory at once: one for each core,
// as many again that wait for one, and one that is being read; 4 MiB at most.
func chunksFor(cores int) int { return min(2*cores+1, 4<<20/bufferSize) }

// ID names the rules and the version of this package: what a stored result
// depends on besides the files.
func (s *Scanner) ID() string { return s.id }

func digest(config []byte) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %t %d\n", Version, config != nil, len(config))
	sum.Write(config)
	sum.Write(builtin)
	return fmt.Sprintf("sha256:%x", sum.Sum(nil))
}

// Wants reports whether a file is to be scanned, judged by its path in the image,
// without leading slash, and its size.
func (s *Scanner) Wants(path string, size int64) bool {
	const minSize = 10 // bytes: Trivy's
	return size >= minSize && !s.paths.skips(path)
}

// Session begins the scan of a layer. All sessions of a scanner share the memory
// for chunks and so the goroutines that look at them.
func (s *Scanner) Session(ctx context.Context) *Session {
	return &Session{ctx: ctx, scanner: s}
}
