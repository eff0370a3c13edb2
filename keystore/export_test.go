package keystore

import (
	"context"
	"crypto"
)

// DeriveCheaply makes d derive the keys of new files at little cost. Files say
// what theirs was, so any Dir of the passphrase reads them.
func (d *Dir) DeriveCheaply() *Dir {
	if d.derivation.KDF == kdfArgon2id {
		d.derivation = derivation{KDF: kdfArgon2id, Time: 1, Memory: 64, Threads: 1}
	}
	return d
}

// SealUnder writes the file of a key as a holder of the Dir's passphrase could:
// with the public part of another key.
func SealUnder(ctx context.Context, d *Dir, handle string, private, public crypto.Signer) ([]byte, error) {
	s, err := d.unlock(ctx, d.derivation, "")
	if err != nil {
		return nil, err
	}
	w, _, err := halves(sealedVersion, handle, public)
	if err != nil {
		return nil, err
	}
	_, secret, err := halves(sealedVersion, handle, private)
	if err != nil {
		return nil, err
	}
	return s.seal(w, secret)
}

// ChecksPermissions tells whether this system has some to check.
const ChecksPermissions = hasPermissions
