package analysis

import (
	"context"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// rpmTag is a value in a header. Its kind follows from its type: a string, a
// string array, an array of 32-bit numbers or bytes.
type rpmTag struct {
	tag   uint32
	value any
}

// Tags of rpm; see https://rpm.org/docs/latest/manual/tags.html.
const (
	tagSigMD5     = 261
	tagName       = 1000
	tagVersion    = 1001
	tagRelease    = 1002
	tagEpoch      = 1003
	tagVendor     = 1011
	tagLicense    = 1014
	tagArch       = 1022
	tagSource     = 1044
	tagProvides   = 1047
	tagRequires   = 1049
	tagDirIndexes = 1116
	tagBaseNames  = 1117
	tagDirNames   = 1118
	tagModularity = 5096
)

// rpmHeaderOf makes the header of a package.
func rpmHeaderOf(tags ...rpmTag) []byte {
	be := binary.BigEndian
	var index, data []byte
	for _, t := range tags {
		var kind, count uint32
		var value []byte
		switch v := t.value.(type) {
		case string:
			kind, count, value = 6, 1, append([]byte(v), 0)
		case []string:
			kind, count = 8, uint32(len(v))
			for _, s := range v {
				value = append(append(value, s...), 0)
			}
		case []uint32:
			kind, count = 4, uint32(len(v))
			for len(data)%4 != 0 {
				data = append(data, 0)
			}
			for _, n := range v {
				value = be.AppendUint32(value, n)
			}
		case []byte:
			kind, count, value = 7, uint32(len(v)), v
		}
		index = be.AppendUint32(index, t.tag)
		index = be.AppendUint32(index, kind)
		index = be.AppendUint32(index, uint32(len(data)))
		index = be.AppendUint32(index, count)
		data = append(data, value...)
	}
	header := be.AppendUint32(nil, uint32(len(tags)))
	header = be.AppendUint32(header, uint32(len(data)))
	return append(append(header, index...), data...)
}

// rpmPackageOf makes the header of a package with a name, version 1 and
// release 2.
func rpmPackageOf(name string, more ...rpmTag) []byte {
	return rpmHeaderOf(append([]rpmTag{{tagName, name}, {tagVersion, "1"}, {tagRelease, "2"}}, more...)...)
}

// sqliteOf runs statements in an empty database of SQLite and returns its file.
func sqliteOf(t testing.TB, statements []string, headers ...[]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range append([]string{"PRAGMA synchronous = OFF"}, statements...) {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	for _, h := range headers {
		if _, err := db.ExecContext(context.Background(), "INSERT INTO Packages (blob) VALUES (?)", h); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// rpmTable is what rpm makes in a new database.
const rpmTable = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"

// ndbOf makes a database in ndb format.
func ndbOf(headers ...[]byte) []byte {
	le := binary.LittleEndian
	out := append([]byte("RpmP"), make([]byte, ndbPage-4)...)
	le.PutUint32(out[12:], 1)
	for at := ndbSlots; at < ndbPage; at += ndbBlock {
		copy(out[at:], "Slot")
	}
	for i, h := range headers {
		slot := out[ndbSlots+i*ndbBlock:]
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(len(out)/ndbBlock))
		out = append(out, "BlbS"...)
		out = le.AppendUint32(out, uint32(i+1))
		out = le.AppendUint32(out, 0)
		out = le.AppendUint32(out, uint32(len(h)))
		out = append(out, h...)
		for len(out)%ndbBlock != 0 {
			out = append(out, 0)
		}
	}
	return out
}

// berkeleyDBOf makes a database of Berkeley DB with one table page and each
// header in a chain of pages of 512 bytes. The table is page 1, and the first
// header's chain starts at page 2.
func berkeleyDBOf(order binary.ByteOrder, headers ...[]byte) []byte {
	const size = 512
	meta, table := make([]byte, size), make([]byte, size)
	order.PutUint32(meta[12:], 0x061561)
	order.PutUint32(meta[20:], size)
	meta[25] = bdbHashMetadata
	table[25] = bdbHash
	order.PutUint16(table[20:], uint16(2*len(headers)))
	var chains []byte
	page := uint32(2)
	for i, h := range headers {
		at := size - (i+1)*bdbOffPageRef
		order.PutUint16(table[bdbPageHead+4*i+2:], uint16(at))
		table[at] = bdbOffPage
		order.PutUint32(table[at+4:], page)
		order.PutUint32(table[at+8:], uint32(len(h)))
		for len(h) > 0 {
			p := make([]byte, size)
			p[25] = bdbOverflow
			n := copy(p[bdbPageHead:], h)
			h = h[n:]
			page++
			if len(h) > 0 {
				order.PutUint32(p[16:], page)
			} else {
				order.PutUint16(p[22:], uint16(n))
			}
			chains = append(chains, p...)
		}
	}
	order.PutUint32(meta[32:], page-1)
	return append(append(meta, table...), chains...)
}
