package store

import (
	"slices"
	"sort"
)

// An index is a list of entries in the order of their IDs. It is cut into
// blocks, so that a change moves hundreds of pointers and not a million. None
// of the blocks is empty.
type index struct {
	blocks [][]*entry
}

// blockSize is how many entries a block has at most.
const blockSize = 256

// A position is that of an entry in an index, or the end: one block too far.
type position struct{ block, at int }

// search returns the position of the first entry whose ID is reached, or the
// end. All IDs behind one that is reached must be reached too.
func (x *index) search(reached func(id string) bool) position {
	b := sort.Search(len(x.blocks), func(i int) bool {
		return reached(x.blocks[i][len(x.blocks[i])-1].id)
	})
	if b == len(x.blocks) {
		return position{block: b}
	}
	block := x.blocks[b]
	return position{b, sort.Search(len(block), func(i int) bool { return reached(block[i].id) })}
}

func (x *index) find(id string) position {
	return x.search(func(other string) bool { return other >= id })
}

// next returns the entry at p and the position behind it, or nil at the end.
func (x *index) next(p position) (*entry, position) {
	if p.block == len(x.blocks) {
		return nil, p
	}
	e := x.blocks[p.block][p.at]
	if p.at++; p.at == len(x.blocks[p.block]) {
		p = position{block: p.block + 1}
	}
	return e, p
}

// previous returns the entry before p and its position, or nil at the start.
func (x *index) previous(p position) (*entry, position) {
	if p.at == 0 {
		if p.block == 0 {
			return nil, p
		}
		p.block--
		p.at = len(x.blocks[p.block])
	}
	p.at--
	return x.blocks[p.block][p.at], p
}

// insert adds an entry whose ID is not there yet.
func (x *index) insert(e *entry) {
	p := x.find(e.id)
	if p.block == len(x.blocks) {
		if p.block == 0 {
			x.blocks = [][]*entry{{e}}
			return
		}
		p.block--
		p.at = len(x.blocks[p.block])
	}
	block := slices.Insert(x.blocks[p.block], p.at, e)
	x.blocks[p.block] = block
	if len(block) > blockSize {
		half := slices.Clone(block[blockSize/2:])
		clear(block[blockSize/2:])
		x.blocks[p.block] = block[:blockSize/2]
		x.blocks = slices.Insert(x.blocks, p.block+1, half)
	}
}

// remove deletes an entry that is there.
func (x *index) remove(e *entry) {
	p := x.find(e.id)
	block := slices.Delete(x.blocks[p.block], p.at, p.at+1)
	x.blocks[p.block] = block
	if len(block) == 0 {
		x.blocks = slices.Delete(x.blocks, p.block, p.block+1)
		return
	}
	x.join(p.block)
	x.join(p.block - 1)
}

// join makes one block of block i and the next if both fit into half a block,
// so that deletions do not leave crumbs.
func (x *index) join(i int) {
	if i < 0 || i+1 >= len(x.blocks) || len(x.blocks[i])+len(x.blocks[i+1]) > blockSize/2 {
		return
	}
	x.blocks[i] = append(x.blocks[i], x.blocks[i+1]...)
	x.blocks = slices.Delete(x.blocks, i+1, i+2)
}
