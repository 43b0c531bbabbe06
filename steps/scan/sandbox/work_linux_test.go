package sandbox_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)

// workerName is what this test is when it runs itself again.
const workerName = "sandbox-test-worker"

// task is what a worker is told; more descriptors may come with it.
type task struct {
	Work    string
	Options sandbox.Options
}

const (
	taskFD = 3 + iota
	workFD
)

// Works are what a scanner does, and what a broken or hostile one does.
func works() map[string]func(context.Context, sandbox.Options) error {
	return map[string]func(context.Context, sandbox.Options) error{
		"nothing":           func(context.Context, sandbox.Options) error { return nil },
		"read bolt":         readBolt,
		"use sqlite":        useSQLite,
		"compute":           compute,
		"map a large file":  mapLargeFile,
		"receive a file":    receiveFile,
		"half the memory":   func(_ context.Context, o sandbox.Options) error { return allocate(o.MaxMemory / 2) },
		"twice the memory":  func(_ context.Context, o sandbox.Options) error { return allocate(2 * o.MaxMemory) },
		"too large a file":  writeTooMuch,
		"all the time":      func(context.Context, sandbox.Options) error { spin(); return nil },
		"panic":             func(context.Context, sandbox.Options) error { go explode(); select {} },
		"dereference a nil": func(context.Context, sandbox.Options) error { var p *task; p.Work = ""; return nil },
	}
}

func TestMain(m *testing.M) {
	if os.Args[0] != workerName {
		os.Exit(m.Run())
	}
	if err := worker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func worker() error {
	var x task
	if err := json.NewDecoder(os.NewFile(taskFD, "task")).Decode(&x); err != nil {
		return err
	}
	begun := time.Now()
	status, err := sandbox.Enter(x.Options)
	if err != nil {
		return err
	}
	entered := time.Since(begun)
	if err := json.NewEncoder(os.Stdout).Encode(entry{status, entered}); err != nil {
		return err
	}
	return works()[x.Work](context.Background(), x.Options)
}

// entry is what a worker says first.
type entry struct {
	Status sandbox.Status
	Took   time.Duration
}

// result is what became of a worker.
type result struct {
	entry
	said string // on stderr
	err  error  // of the process
}

// run runs a worker to its end.
func run(t testing.TB, work string, o sandbox.Options, files ...*os.File) result {
	t.Helper()
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	if err := errors.Join(json.NewEncoder(tell).Encode(task{work, o}), tell.Close()); err != nil {
		t.Fatal(err)
	}
	cmd, err := sandbox.Command(t.Context(), sandbox.CommandOptions{Name: workerName, Files: append([]*os.File{told}, files...)})
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	r := result{err: cmd.Run(), said: said.String()}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r.entry); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "scratch-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOrdinaryWorkSurvives(t *testing.T) {
	for _, tc := range []struct {
		work string
		file func(*testing.T) *os.File
	}{
		{"read bolt", boltFile},
		{"use sqlite", nil},
		{"compute", nil},
		{"map a large file", largeFile},
		{"receive a file", socketWithFile},
		{"half the memory", nil},
	} {
		t.Run(tc.work, func(t *testing.T) {
			var files []*os.File
			if tc.file != nil {
				f := tc.file(t)
				defer f.Close()
				files = append(files, f)
			}
			o := sandbox.Options{Mode: sandbox.Require, ScratchDir: scratch(t), MaxMemory: 384 << 20, MaxCPU: time.Minute, MaxFileSize: 1 << 30}
			if r := run(t, tc.work, o, files...); r.err != nil {
				t.Errorf("%v: %s", r.err, r.said)
			}
		})
	}
}

func TestABreakingProcessSaysWhy(t *testing.T) {
	for _, tc := range []struct {
		work    string
		options sandbox.Options
		want    string // on stderr, or of the process
	}{
		{"panic", sandbox.Options{}, "explode"}, // the traceback names the function
		{"dereference a nil", sandbox.Options{}, "invalid memory address"},
		{"twice the memory", sandbox.Options{MaxMemory: 384 << 20}, "out of memory"},
		{"too large a file", sandbox.Options{MaxFileSize: 1 << 20}, "file too large"},
		{"all the time", sandbox.Options{MaxCPU: time.Second}, "signal: killed"},
	} {
		t.Run(tc.work, func(t *testing.T) {
			tc.options.Mode, tc.options.ScratchDir = sandbox.Require, scratch(t)
			r := run(t, tc.work, tc.options)
			if r.err == nil || !strings.Contains(r.said+r.err.Error(), tc.want) {
				t.Errorf("%v: %s\nwant an error with %q", r.err, r.said, tc.want)
			}
		})
	}
}

func TestWithoutAScratchDirectoryNothingIsOpened(t *testing.T) {
	r := run(t, "too large a file", sandbox.Options{Mode: sandbox.Require, MaxFileSize: 1 << 20})
	if r.err == nil || !strings.Contains(r.said, "operation not permitted") {
		t.Errorf("%v: %s\nwant no file to be made", r.err, r.said)
	}
}

func boltFile(t *testing.T) *os.File {
	path := filepath.Join(t.TempDir(), "trivy.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("debian 12"))
		if err != nil {
			return err
		}
		for i := range 10_000 {
			if err := b.Put(fmt.Appendf(nil, "package-%d", i), []byte("{}")); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readBolt(context.Context, sandbox.Options) error {
	db, err := bolt.Open("trivy.db", 0, &bolt.Options{ReadOnly: true, OpenFile: func(string, int, os.FileMode) (*os.File, error) {
		return os.NewFile(workFD, "trivy.db"), nil
	}})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		if n := tx.Bucket([]byte("debian 12")).Stats().KeyN; n != 10_000 {
			return fmt.Errorf("it has %d packages", n)
		}
		return nil
	})
}

// useSQLite has it lock, journal, sort and sync.
func useSQLite(ctx context.Context, o sandbox.Options) error {
	db, err := sql.Open("sqlite", filepath.Join(o.ScratchDir, "rpmdb.sqlite"))
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range []string{
		"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000) INSERT INTO Packages SELECT i, randomblob(300) FROM n",
		"CREATE INDEX byBlob ON Packages(blob)",
		"VACUUM",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT DISTINCT substr(blob, 1, 8) FROM Packages ORDER BY 1 DESC)").Scan(&n); err != nil || n == 0 {
		return fmt.Errorf("%d rows: %w", n, err)
	}
	return nil
}

// compute keeps twenty goroutines, the collector and the scratch directory busy.
func compute(_ context.Context, o sandbox.Options) error {
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = roundTrip(o.ScratchDir) })
	}
	for range 10 {
		runtime.GC()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// roundTrip packs, unpacks and compares, by way of a temporary file, wherever
// the library that makes it wants it to be.
func roundTrip(scratch string) error {
	f, err := os.CreateTemp("", "layer-")
	if err != nil {
		return err
	}
	defer f.Close()
	if filepath.Dir(f.Name()) != scratch {
		return fmt.Errorf("%s is not in the scratch directory", f.Name())
	}
	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = byte(rand.IntN(16))
	}
	packed := gzip.NewWriter(f)
	_, err = packed.Write(want)
	if err := errors.Join(err, packed.Close(), os.Remove(f.Name())); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(unpacked)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("what was unpacked differs")
	}
	return err
}

// largeSize is more than twice the memory that the test leaves.
const largeSize = 2200 << 20

func largeFile(t *testing.T) *os.File {
	path := filepath.Join(t.TempDir(), "trivy-java.db")
	if err := errors.Join(os.WriteFile(path, []byte("head"), 0o600), os.Truncate(path, largeSize)); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func mapLargeFile(context.Context, sandbox.Options) error {
	data, err := unix.Mmap(workFD, 0, largeSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	if string(data[:4]) != "head" || data[largeSize-1] != 0 {
		return errors.New("the file has other content")
	}
	return unix.Munmap(data)
}

func socketWithFile(t *testing.T) *os.File {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	f := largeFile(t)
	defer f.Close()
	if err := unix.Sendmsg(fds[0], []byte("layer"), unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[1]), "socket")
}

func receiveFile(context.Context, sandbox.Options) error {
	text, rights := make([]byte, 100), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := unix.Recvmsg(workFD, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fds[0]), "received")
	defer f.Close()
	head := make([]byte, 4)
	if _, err := f.Read(head); err != nil || string(head) != "head" || string(text[:n]) != "layer" {
		return fmt.Errorf("received %q with %q: %w", head, text[:n], err)
	}
	return nil
}

// allocate uses that much memory, in pieces that are all alive at the end.
func allocate(size int64) error {
	const piece = 16 << 20
	var all [][]byte
	for range size / piece {
		b := make([]byte, piece)
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
		all = append(all, b)
	}
	runtime.KeepAlive(all)
	return nil
}

func writeTooMuch(_ context.Context, o sandbox.Options) error {
	f, err := os.Create(filepath.Join(os.TempDir(), "bomb"))
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Write(make([]byte, o.MaxFileSize+1))
	if int64(n) > o.MaxFileSize {
		return nil
	}
	return err
}

func spin() {
	for {
		runtime.Gosched()
	}
}

func explode() { panic(syscall.EINVAL) }
