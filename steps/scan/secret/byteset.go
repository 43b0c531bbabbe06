package secret

import "math/bits"

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) has(b byte) bool { return s[b>>6]>>(b&63)&1 != 0 }
func (s *byteSet) add(b byte)      { s[b>>6] |= 1 << (b & 63) }

// caseBit is set in lower case letters and clear in upper case ones. Setting it
// folds some other bytes too, which only makes for more places to look at.
const caseBit = 0x20

// folded returns the bytes of s with caseBit set: at most 128.
func folded(s byteSet) byteSet {
	const lower = 0xffffffff_00000000 // caseBit is the upper half of a word
	for i := range s {
		s[i] = s[i]&lower | s[i]<<caseBit
	}
	return s
}

func (s byteSet) size() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}
