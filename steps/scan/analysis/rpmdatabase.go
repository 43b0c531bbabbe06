package analysis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// rpmDatabase takes the packages' headers out of a database of rpm.
//
// go-rpmdb could open the file itself, and must not: it reads pages in a
// goroutine of its own, where nobody can catch a panic, and believes them. An
// offset beyond a page would end the process, an overflow page of another kind
// is read for ever, a length is allocated as it stands, and so is an index of
// headers. As only all packages are wanted, one after the other, each format is
// little to read: with every offset checked, and all headers together no larger
// than the file. What is inside a header is go-rpmdb's; see [rpmHeaders].
type rpmDatabase struct {
	*content
	tempDir string
	left    int64 // bytes that further headers may have
	each    func(header []byte) error
}

// maxRpmHeader bounds one package's header (bytes). It is what rpm allowed
// until 4.14; a package of 100,000 files has 20 MB.
const maxRpmHeader = 32 << 20

var errCutShort = errors.New("the file is cut short, or its pages are damaged")

// read calls each for every header, until that fails.
func (db *rpmDatabase) read(ctx context.Context) error {
	var magic [16]byte
	if err := db.readAt(magic[:], 0); err != nil {
		return err
	}
	switch {
	case string(magic[:]) == "SQLite format 3\x00":
		return db.readSQLite(ctx)
	case string(magic[:4]) == "RpmP":
		return db.readNDB(ctx)
	}
	return db.readBerkeleyDB(ctx)
}

func (db *rpmDatabase) readAt(p []byte, at int64) error {
	if _, err := db.ReadAt(p, at); err != nil && err != io.EOF {
		return err
	} else if at+int64(len(p)) > db.size {
		return errCutShort
	}
	return nil
}

// room is called with the size of each header before it is read. A header
// lies in the file and nowhere twice.
func (db *rpmDatabase) room(size int64) error {
	if size > maxRpmHeader {
		return fmt.Errorf("a header of a package: %w", tooLarge(size, maxRpmHeader))
	}
	if db.left -= size; db.left < 0 {
		return errors.New("the packages are larger than the file: its pages are damaged")
	}
	return nil
}

// readNDB reads SUSE's format: pages of slots, each of which points to a blob.
// https://github.com/rpm-software-management/rpm/blob/rpm-4.17.0-release/lib/backend/ndb/rpmpkg.c
func (db *rpmDatabase) readNDB(ctx context.Context) error {
	const maxSlotPages = 2048 // for half a million packages
	le := binary.LittleEndian
	var head [ndbBlock]byte
	if err := db.readAt(head[:], 0); err != nil {
		return err
	}
	version, pages := le.Uint32(head[4:]), le.Uint32(head[12:])
	if version != 0 || pages == 0 || pages > maxSlotPages {
		return fmt.Errorf("an ndb database of version %d with %d pages is not understood", version, pages)
	}
	slots := make([]byte, int64(pages)*ndbPage)
	if err := db.readAt(slots, 0); err != nil {
		return err
	}
	for at := ndbSlots; at < len(slots); at += ndbBlock {
		slot := slots[at : at+ndbBlock]
		if string(slot[:4]) != "Slot" {
			return errCutShort
		}
		index, offset := le.Uint32(slot[4:]), int64(le.Uint32(slot[8:]))*ndbBlock
		if index == 0 {
			continue // free
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := db.readAt(head[:], offset); err != nil {
			return err
		}
		if string(head[:4]) != "BlbS" || le.Uint32(head[4:]) != index {
			return errCutShort
		}
		size := int64(le.Uint32(head[12:]))
		if err := db.room(size); err != nil {
			return err
		}
		header := make([]byte, size)
		if err := db.readAt(header, offset+ndbBlock); err != nil {
			return err
		}
		if err := db.each(header); err != nil {
			return err
		}
	}
	return nil
}

// The parts of an ndb database, bytes.
const (
	ndbBlock = 16           // a slot, a blob's head, and what blobs are aligned to
	ndbSlots = 2 * ndbBlock // the database's own head stands in place of two
	ndbPage  = 4096
)

// berkeleyDB is a hash database as rpm used it until version 4.16. A header is
// too large for a page of the table, so it lies in a chain of pages of its own.
// https://github.com/berkeleydb/libdb/blob/v5.3.28/src/dbinc/db_page.h
type berkeleyDB struct {
	*rpmDatabase
	order    binary.ByteOrder
	pageSize int
	last     uint32 // number of the last page
}

// The parts of a page of Berkeley DB, bytes, and kinds of pages and values.
const (
	bdbMetadata   = 72
	bdbPageHead   = 26
	bdbOffPageRef = 12

	bdbHashUnsorted = 2 // until Berkeley DB 4.6
	bdbOverflow     = 7
	bdbHashMetadata = 8
	bdbHash         = 13
	bdbOffPage      = 3 // a value that lies elsewhere
)

func (db *rpmDatabase) readBerkeleyDB(ctx context.Context) error {
	b, err := db.openBerkeleyDB()
	if err != nil {
		return err
	}
	page := make([]byte, b.pageSize)
	for n := range int64(b.last) + 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.readAt(page, n*int64(b.pageSize)); err != nil {
			return err
		}
		if kind := page[25]; kind != bdbHash && kind != bdbHashUnsorted {
			continue
		}
		if err := b.hashPage(page); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
	}
	return nil
}

func (db *rpmDatabase) openBerkeleyDB() (*berkeleyDB, error) {
	var meta [bdbMetadata]byte
	if err := db.readAt(meta[:], 0); err != nil {
		return nil, err
	}
	b := &berkeleyDB{rpmDatabase: db, order: binary.LittleEndian}
	switch magic := meta[12:16]; {
	case bytes.Equal(magic, []byte("\x61\x15\x06\x00")):
	case bytes.Equal(magic, []byte("\x00\x06\x15\x61")):
		b.order = binary.BigEndian
	default:
		return nil, errors.New("it is in no format that rpm uses")
	}
	b.pageSize, b.last = int(b.order.Uint32(meta[20:])), b.order.Uint32(meta[32:])
	if b.pageSize < 512 || b.pageSize > 64<<10 || b.pageSize&(b.pageSize-1) != 0 {
		return nil, fmt.Errorf("pages of %d bytes: the first one is damaged", b.pageSize)
	}
	if meta[24] != 0 || meta[25] != bdbHashMetadata {
		return nil, errors.New("it is encrypted, or its first page is damaged")
	}
	if (int64(b.last)+1)*int64(b.pageSize) > db.size {
		return nil, errCutShort
	}
	return b, nil
}

// hashPage reads one page of the table: offsets of keys and values by turns.
func (b *berkeleyDB) hashPage(page []byte) error {
	entries := int(b.order.Uint16(page[20:]))
	if entries%2 != 0 || bdbPageHead+2*entries > len(page) {
		return fmt.Errorf("it claims %d entries", entries)
	}
	for i := 1; i < entries; i += 2 {
		at := int(b.order.Uint16(page[bdbPageHead+2*i:]))
		if at >= len(page) {
			return errCutShort
		}
		if page[at] != bdbOffPage {
			continue // what rpm keeps beside its packages is small
		}
		if at+bdbOffPageRef > len(page) {
			return errCutShort
		}
		ref := page[at : at+bdbOffPageRef]
		header, err := b.chain(b.order.Uint32(ref[4:]), int64(b.order.Uint32(ref[8:])))
		if err != nil {
			return err
		}
		if err := b.each(header); err != nil {
			return err
		}
	}
	return nil
}

// chain returns a value of size bytes that begins in page n.
func (b *berkeleyDB) chain(n uint32, size int64) ([]byte, error) {
	if err := b.room(size); err != nil {
		return nil, err
	}
	value := make([]byte, 0, size)
	page := make([]byte, b.pageSize)
	for n != 0 {
		if n > b.last {
			return nil, errCutShort
		}
		if err := b.readAt(page, int64(n)*int64(b.pageSize)); err != nil {
			return nil, err
		}
		next, end := b.order.Uint32(page[16:]), b.pageSize
		if next == 0 {
			end = bdbPageHead + int(b.order.Uint16(page[22:]))
		}
		if page[25] != bdbOverflow || end > b.pageSize || len(value)+end-bdbPageHead > int(size) {
			return nil, fmt.Errorf("a package of %d bytes: page %d is not the next part of it", size, n)
		}
		value = append(value, page[bdbPageHead:end]...)
		n = next
	}
	if int64(len(value)) != size {
		return nil, fmt.Errorf("a package of %d bytes: its pages hold %d", size, len(value))
	}
	return value, nil
}
