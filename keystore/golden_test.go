package keystore_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/keystore"
)

const (
	goldenPassphrase = `{"version":2,"kid":"golden","kty":"OKP","crv":"Ed25519","x":"fXRburDZ0ho0m-jQn9a8KfZTxRB7_iKfStIcsKEidyI","kdf":"argon2id","salt":"9iWFLvOfi0z4eG_o9Ul-ug","time":3,"memory":65536,"threads":4,"check":"NkaENGoRGkn6TA7UYrj_6xp3NN198hpwMcQcl1h7vy4","nonce":"P2e97cilKUF4v7UDzXbJWXP1APWd4cjW","sealed":"-fidXATIhJJ7Komn98mVbhfJ0U7aR5lKvwmgnGQTYZqr_bNOeq7hnt21oxahiDd9","integrity":"gi_9SeMZdCfpsgeVAv8VQxRR6Rc-Xc5jNqP_T9tSckk"}
`
	goldenKey = `{"version":2,"kid":"golden","kty":"EC","crv":"P-256","x":"uAtITWjQZhMWlZ_u5-srHX-BP-EKqIH-RGODhtqwlJs","y":"ZkZvDX0N3op_6o-bU0qZxvuprBQ4_fnZDTUMnC5oBxU","kdf":"none","check":"_5BFgrPM7RLawKi2zvs8H0FrGjncK6Y6CIpghfpQNUk","nonce":"Kveq24EBxcjr80TJ0vokS2t_Sl2FDtSv","sealed":"0XN_znfWzTMZA0y6sYVPBUgOf2RljE23QLPZtfl2xO1B4X5ShdJDfgHUvKPg8NZC","integrity":"z-yRcV785rKOQiOZh709Pbbsf2xMgkV4E2VC1bF62Ig"}
`
)

// What was written once must be read by every later version.
func TestFilesOfTheFirstEncryptingVersionAreRead(t *testing.T) {
	for m, text := range map[mode]string{
		withPassphrase: goldenPassphrase,
		withKey:        goldenKey,
	} {
		path := newPath(t)
		d := m.dir(t, path)
		generate(t, newDir(t, path), keystore.Ed25519, "first") // makes the directory
		overwrite(t, filepath.Join(path, "golden.jwk.json"), []byte(text))
		k, err := d.Load(t.Context(), "golden")
		if err != nil {
			t.Errorf("%s: %v", m, err)
			continue
		}
		if !strings.Contains(text, x(k.Public())) {
			t.Errorf("%s: another key", m)
		}
		wantSigns(t, k)
	}
}
