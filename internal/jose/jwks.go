package jose

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/strictjson"
)

// A Set is what could be used of a JWK Set.
type Set struct {
	Keys     []Key   // in the order of the text; several may have one key id
	Rejected []error // one for each other member, with its index
}

// ParseJWKS reads a JWK Set of at most [MaxSet] bytes and [MaxKeys] keys. A key
// that [ParseJWK] refuses, or that is of a kind not invented yet, does not
// spoil the others; a text that is not strict JSON is refused whole. Without a
// single usable key the error is not nil, so that nobody replaces good keys by
// none; the Set then still tells the reasons.
func ParseJWKS(data []byte) (Set, error) {
	if len(data) > MaxSet {
		return Set{}, fmt.Errorf("jose: JWK Set longer than %d bytes", MaxSet)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return Set{}, fmt.Errorf("jose: JWK Set: %w", err)
	}
	list, err := members.Array("keys")
	if err != nil {
		return Set{}, fmt.Errorf("jose: JWK Set: %w", err)
	}
	if len(list) > MaxKeys {
		return Set{}, fmt.Errorf("jose: JWK Set of %d keys, at most %d", len(list), MaxKeys)
	}
	return readSet(list)
}

func readSet(list []json.RawMessage) (Set, error) {
	var set Set
	for i, raw := range list {
		key, err := ParseJWK(raw)
		if err != nil {
			set.Rejected = append(set.Rejected, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.Keys = append(set.Keys, key)
	}
	switch {
	case len(list) == 0:
		return set, errors.New("jose: JWK Set is empty")
	case len(set.Keys) == 0:
		return set, fmt.Errorf("jose: JWK Set without a usable key: %w", set.Rejected[0])
	}
	return set, nil
}
