package sandbox_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)

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
