package keywright

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// How many characters the text of an imported key has.
const (
	minImported = 32
	maxImported = 256
)

// importedIndex is what KindKeyImported keeps.
type importedIndex struct {
	ID string `json:"id"` // the public id of the key
}

// importedID is the ID of the record that finds the imported key of this text.
func importedID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// MintImported is like [Keys.Mint] for a text that somebody holds already: a
// key that another product made. The key gets a public id of its own, and
// exists once ops are committed together; the Commit fails with
// [store.ErrExists] when the text was imported before. It is accepted where
// HostConfig.ImportedKeys is set.
//
// The text must be 32 to 256 characters of A-Z, a-z, 0-9, "_" and "-" and not
// begin like a key of this host: otherwise the error is an [*Error] of
// CodeInvalidRequest. Only random texts are safe: the record that finds the key
// bears their SHA-256, however HostConfig.Hash has keys hashed.
//
// Rotate makes a normal key of an imported one, and its text stays taken.
// Delete makes the text free again: an import that is repeated afterwards
// revives it.
func (k *Keys) MintImported(spec KeySpec, text string) (id string, ops []store.Op, err error) {
	if !k.importable(text) {
		return "", nil, Errorf(CodeInvalidRequest, "a key to import: want %d to %d of A-Z, a-z, 0-9, _ and -, and another beginning than our keys have", minImported, maxImported)
	}
	m, err := k.mint(spec, token.Key{Text: text, ID: token.NewID()})
	if err != nil {
		return "", nil, err
	}
	data, err := json.Marshal(importedIndex{ID: m.ID})
	if err != nil {
		return "", nil, fmt.Errorf("keywright: encode index of an imported key: %w", err)
	}
	index := store.Record{Kind: KindKeyImported, ID: importedID(text), Expires: spec.Expires, Data: data}
	return m.ID, []store.Op{m.Op, store.Insert(index)}, nil
}

// importable reports whether text could be that of an imported key.
func (k *Keys) importable(text string) bool {
	if len(text) < minImported || len(text) > maxImported || k.beginsLikeOurs(text) {
		return false
	}
	for i := range len(text) {
		if c := text[i]; c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// findImported asks the store which imported key text is, for verify to find
// out whether it is. A text that is none is ErrNoCredential.
func (k *Keys) findImported(ctx context.Context, text string) (token.Key, error) {
	if !k.imports || !k.importable(text) {
		return token.Key{}, ErrNoCredential
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKeyImported, ID: importedID(text)})
	switch {
	case err != nil:
		return token.Key{}, Wrap(CodeUnavailable, err)
	case !records[0].Exists():
		return token.Key{}, ErrNoCredential
	}
	var index importedIndex
	err = json.Unmarshal(records[0].Data, &index)
	if err == nil && !token.ValidID(index.ID) {
		err = errors.New("no key id")
	}
	if err != nil {
		return token.Key{}, Wrap(CodeInternal, fmt.Errorf("keywright: index of an imported key: %w", err))
	}
	return token.Key{Text: text, ID: index.ID}, nil
}

// withIndex adds to ops that the record which finds c, if c is imported, goes
// too. It outlives the key, and while it stands its text is not imported again:
// so it can only be that of c.
func (k *Keys) withIndex(ctx context.Context, c *known, ops ...store.Op) ([]store.Op, error) {
	if c.Imported == "" {
		return ops, nil
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKeyImported, ID: c.Imported})
	if err != nil {
		return nil, Wrap(CodeUnavailable, err)
	}
	if records[0].Exists() {
		ops = append(ops, store.Delete(records[0]))
	}
	return ops, nil
}
