package analysis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	rpmdb "github.com/knqyf263/go-rpmdb/pkg"
)

// rpmHeaders has go-rpmdb read headers. It takes them from a database only, so
// they are put into one: ndb, its simplest format, with one page of slots.
// Closing a batch early loses nothing but time.
type rpmHeaders struct {
	tempDir string
	each    func(*rpmdb.PackageInfo) error

	slots []byte // and the head before them
	blobs []byte
}

// maxRpmBatch is how many bytes of headers are read at once. Each is in memory
// several times then.
const maxRpmBatch = 4 << 20

// add takes a header, which stays the caller's.
func (h *rpmHeaders) add(header []byte) error {
	if err := checkRpmHeader(header); err != nil {
		return fmt.Errorf("the header of a package: %w", err)
	}
	if len(h.slots)+ndbBlock > ndbPage || len(h.blobs) > 0 && len(h.blobs)+len(header) > maxRpmBatch {
		if err := h.flush(); err != nil {
			return err
		}
	}
	le := binary.LittleEndian
	if len(h.slots) == 0 {
		h.slots = append(h.slots, "RpmP"...)
		h.slots = le.AppendUint32(h.slots, 0) // version
		h.slots = le.AppendUint32(h.slots, 0) // generation
		h.slots = le.AppendUint32(h.slots, 1) // pages of slots
		h.slots = append(h.slots, make([]byte, ndbSlots-len(h.slots))...)
	}
	index := uint32(len(h.slots) / ndbBlock) // any number but 0
	h.slots = append(h.slots, "Slot"...)
	h.slots = le.AppendUint32(h.slots, index)
	h.slots = le.AppendUint32(h.slots, uint32((ndbPage+len(h.blobs))/ndbBlock))
	h.slots = le.AppendUint32(h.slots, 0) // blocks; not read
	h.blobs = append(h.blobs, "BlbS"...)
	h.blobs = le.AppendUint32(h.blobs, index)
	h.blobs = le.AppendUint32(h.blobs, 0) // generation
	h.blobs = le.AppendUint32(h.blobs, uint32(len(header)))
	h.blobs = append(h.blobs, header...)
	h.blobs = append(h.blobs, make([]byte, (ndbBlock-len(header)%ndbBlock)%ndbBlock)...)
	return nil
}

// flush reads the headers that are waiting.
func (h *rpmHeaders) flush() error {
	if len(h.slots) == 0 {
		return nil
	}
	for len(h.slots) < ndbPage {
		h.slots = append(h.slots, "Slot\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	}
	infos, err := h.readBatch()
	h.slots, h.blobs = h.slots[:0], h.blobs[:0]
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := h.each(info); err != nil {
			return err
		}
	}
	return nil
}

func (h *rpmHeaders) readBatch() ([]*rpmdb.PackageInfo, error) {
	f, err := os.CreateTemp(h.tempDir, "imagewright-scan-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(h.slots)
	if err == nil {
		_, err = f.Write(h.blobs)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	db, err := rpmdb.Open(f.Name())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	// After an error a goroutine that has more to say stays behind; so does no
	// more than a batch.
	return db.ListPackages()
}

// checkRpmHeader checks what go-rpmdb believes: how long the index is, and that
// no two values overlap, which rpm has always demanded. Without that a small
// header could name a large value as often as it likes.
//
// A header is two lengths, an index of tag, type, offset and count, and data.
// https://github.com/rpm-software-management/rpm/blob/rpm-4.14.3-release/lib/header.c
func checkRpmHeader(header []byte) error {
	const lengths, entry, maxEntries = 8, 16, 1<<16 - 1
	if len(header) < lengths+entry {
		return errors.New("it is cut short")
	}
	be := binary.BigEndian
	entries, size := int64(be.Uint32(header)), int64(be.Uint32(header[4:]))
	if entries == 0 || entries > maxEntries || lengths+entry*entries+size > int64(len(header)) {
		return fmt.Errorf("%d values of %d bytes are more than its %d bytes", entries, size, len(header))
	}
	index, data := header[lengths:lengths+entry*entries], header[lengths+entry*entries:][:size]
	if tag := be.Uint32(index); tag >= 61 && tag <= 63 {
		index = index[entry:] // a region: it stands for those that follow
	}
	end := int64(0)
	for ; len(index) > 0; index = index[entry:] {
		tag, offset := be.Uint32(index), int64(be.Uint32(index[8:]))
		if offset < end || offset > size {
			return fmt.Errorf("the value of tag %d overlaps another", tag)
		}
		n := rpmValueSize(data[offset:], be.Uint32(index[4:]), int64(be.Uint32(index[12:])))
		if n < 0 || offset+n > size {
			return fmt.Errorf("the value of tag %d goes beyond the data", tag)
		}
		end = offset + n
	}
	return nil
}

// rpmValueSize returns how many bytes a value takes that begins with data, -1
// for more than there are.
func rpmValueSize(data []byte, kind uint32, count int64) int64 {
	switch kind {
	case 6, 8, 9: // strings
		size := int64(0)
		for range count {
			end := bytes.IndexByte(data[size:], 0)
			if end < 0 {
				return -1
			}
			size += int64(end) + 1
		}
		return size
	case 3:
		return 2 * count
	case 4:
		return 4 * count
	case 5:
		return 8 * count
	default:
		return count
	}
}
