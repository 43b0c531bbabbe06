package differential

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"hash/adler32"
	"testing"

	_ "modernc.org/sqlite"
)

// headers are what an rpm database in SQLite holds of each package.
func headers(t *testing.T, file string) [][]byte {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT blob FROM Packages ORDER BY hnum")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var blob []byte
		if err := rows.Scan(&blob); err != nil {
			t.Fatal(err)
		}
		all = append(all, blob)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Sizes of ndb, bytes.
const (
	ndbBlock = 16
	ndbPage  = 4096
)

// ndb lays out package headers as rpm's own ndb does, which Debian's rpm is
// built without: a page of slots that say where the blobs are, then the blobs.
// https://github.com/rpm-software-management/rpm/blob/rpm-4.18.0-release/lib/backend/ndb/rpmpkg.c
func ndb(blobs [][]byte) []byte {
	word := binary.LittleEndian.AppendUint32
	var slots, content []byte
	slots = append(slots, "RpmP"...)
	for _, v := range []uint32{0, 1, 1, uint32(len(blobs) + 1), 0, 0, 0} { // version, generation, pages, next package
		slots = word(slots, v)
	}
	for i, blob := range blobs {
		at := ndbPage + len(content)
		index := uint32(i + 1)
		padded := (len(blob) + 12 + ndbBlock - 1) / ndbBlock * ndbBlock // with the tail
		slots = append(slots, "Slot"...)
		slots = word(word(word(slots, index), uint32(at/ndbBlock)), uint32((ndbBlock+padded)/ndbBlock))
		start := len(content)
		content = append(content, "BlbS"...)
		content = word(word(word(content, index), 1), uint32(len(blob)))
		content = append(content, blob...)
		content = append(content, make([]byte, padded-12-len(blob))...)
		content = word(content, adler32.Checksum(content[start:]))
		content = append(word(content, uint32(len(blob))), "BlbE"...)
	}
	for len(slots) < ndbPage {
		slots = append(slots, "Slot"...)
		slots = append(slots, make([]byte, 12)...)
	}
	return bytes.Join([][]byte{slots, content}, nil)
}
